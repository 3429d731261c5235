"""What a header claims is read where it stands, and nonsense claims nothing."""

import io
import os
import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dropscribe.worker.preparing.declared_size import READERS, SLACK, claimed_size, is_cut, is_torn, mp3_frames
from tests.media_files import FORMATS, SELDOM, tone, write


def made(tmp_path, name, **how):
    more = {kind: (kind, codec, 8000, "mono", False) for kind, codec in (("w64", "pcm_s16le"), ("au", "pcm_s16be"))}
    container, codec, rate, layout, picture = (FORMATS | SELDOM | more)[name]
    return write(tmp_path / "a", container, codec, rate, layout, picture, **how)


@pytest.mark.parametrize("name", ["wav", "w64", "au", "aiff", "mkv", "webm", "wma", "m4a", "mp4", "mov", "caf", "avi"])
def test_a_whole_file_claims_its_own_size(name, tmp_path):
    path = made(tmp_path, name)
    with path.open("rb") as file:
        assert claimed_size(file) == pytest.approx(path.stat().st_size, abs=SLACK)
        assert not is_cut(file)


@pytest.mark.parametrize(("lost", "cut"), [(3000, False), (20_000, True)])
def test_an_avi_is_whole_without_its_index_which_stands_behind_the_sound(lost, cut, tmp_path):
    path = made(tmp_path, "avi sound", samples=tone(10, 44_100))
    os.truncate(path, path.stat().st_size - lost)
    with path.open("rb") as file:
        assert is_cut(file) == cut


@pytest.mark.parametrize("name", ["mp3", "flac", "opus", "aac", "ts", "mpg", "flv", "ac3", "wv"])
def test_other_files_claim_nothing(name, tmp_path):
    with made(tmp_path, name).open("rb") as file:
        assert claimed_size(file) == 0


def test_a_live_recording_of_unknown_size_claims_nothing(tmp_path):
    with made(tmp_path, "webm", options={"live": "1"}).open("rb") as file:
        assert claimed_size(file) == 0


@pytest.mark.parametrize(("rate", "frame"), [(44_100, 1152), (22_050, 576)])
@pytest.mark.parametrize("layout", ["mono", "stereo"])
def test_an_mp3_counts_its_frames(rate, frame, layout, tmp_path):
    path = write(tmp_path / "a", "mp3", "libmp3lame", rate, layout, samples=tone(5, rate))
    with path.open("rb") as file:
        assert mp3_frames(file) == pytest.approx(5 * rate / frame, abs=3)


def test_an_mp3_without_that_header_claims_nothing(tmp_path):
    path = write(tmp_path / "a", "mp3", "libmp3lame", options={"write_xing": "0"})
    with path.open("rb") as file:
        assert mp3_frames(file) == 0


def test_a_wav_beyond_four_gigabytes_claims_what_its_first_chunk_says(tmp_path):
    path = made(tmp_path, "wav", options={"rf64": "always"})
    with path.open("rb") as file:
        assert file.read(4) == b"RF64"
        assert claimed_size(file) == pytest.approx(path.stat().st_size, abs=SLACK)


@pytest.mark.parametrize("lost", [1, 20, 2000])
def test_an_ogg_file_that_ends_within_a_page_is_torn(lost, tmp_path):
    path = made(tmp_path, "opus")
    with path.open("rb") as file:
        assert not is_torn(file)
    os.truncate(path, path.stat().st_size - lost)
    with path.open("rb") as file:
        assert is_torn(file)


def test_an_mp3_of_fraunhofers_encoder_counts_its_frames():
    head = b"\xff\xfb\x90\x00" + bytes(32) + b"VBRI" + bytes(10) + (321).to_bytes(4, "big") + bytes(30)
    assert mp3_frames(io.BytesIO(head)) == 321


@given(st.sampled_from([b"", b"ID3", b"RIFF", b"OggS", b"\0\0\0\x10ftyp", *READERS]), st.binary(max_size=200))
@example(b"RIFF", b"\0\0\0\0WAVE" + b"junk\0\0\0\0" * 20)
@example(bytes.fromhex("1a45dfa3"), b"\x01\xff\xff\xff\xff\xff\xff\xfe" + bytes(20))
@example(bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"), bytes(14 + 16) + struct.pack("<Q", (1 << 64) - 1))
def test_no_header_leads_astray(magic, rest):
    file = io.BytesIO(magic + rest)
    assert claimed_size(file) >= 0
    assert mp3_frames(file) >= 0
