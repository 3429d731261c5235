"""What lies behind the sound that a header claims: more sound, other chunks, nothing, or something else."""

import os
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropscribe.worker.preparing.containers import OPTIONS
from dropscribe.worker.preparing.is_sound import is_sound
from dropscribe.worker.preparing.understated import LAYOUTS, W64_NAME, MendedFile, Understated, find
from tests.media_files import claim_less, tone, write
from tests.sounds import FAINT, RATE, hiss

# name of the kind: container, codec, options
KINDS = {
    "wav": ("wav", "pcm_s16le", {}),
    "wav 24 bit": ("wav", "pcm_s24le", {}),
    "wav float": ("wav", "pcm_f32le", {}),
    "wav telephone": ("wav", "pcm_mulaw", {}),
    "wav adpcm": ("wav", "adpcm_ima_wav", {}),
    "rf64": ("wav", "pcm_s16le", {"rf64": "always"}),
    "aiff": ("aiff", "pcm_s16be", {}),
    "w64": ("w64", "pcm_s16le", {}),
    "caf": ("caf", "pcm_s16le", {}),
}
SLACK = 300  # bytes that ffmpeg writes behind the sound
VOICE = np.convolve(tone(4, RATE), np.ones(3) / 3, "same")


def made(path: Path, kind: str, share: float = 0.4, sound: np.ndarray = VOICE) -> Path:
    container, codec, options = KINDS[kind]
    return claim_less(write(path, container, codec, RATE, "stereo", samples=sound, options=options), share)


def behind(path: Path) -> tuple[Understated | None, bool]:
    with path.open("rb") as file:
        found = find(file)
        return found, found is not None and is_sound(file, found, OPTIONS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_header_that_claims_less_is_noticed_and_what_lies_behind_is_known_for_sound(kind, tmp_path):
    found, sound = behind(made(tmp_path / "a", kind))
    assert sound
    assert found
    assert found.share == pytest.approx(0.4, abs=0.01)
    assert found.end == pytest.approx((tmp_path / "a").stat().st_size, abs=SLACK)


@pytest.mark.parametrize("kind", KINDS)
def test_a_right_header_has_nothing_behind(kind, tmp_path):
    assert behind(made(tmp_path / "a", kind, share=1)) == (None, False)


@pytest.mark.parametrize("name", [b"LIST", b"id3 ", b"bext"])
def test_a_chunk_behind_the_sound_stays_what_it_is(name, tmp_path):
    path = made(tmp_path / "a", "wav", share=1)
    with path.open("ab") as file:
        file.write(name + struct.pack("<I", 9000) + b"INFO" * 2250)
    assert behind(path) == (None, False)


def w64_chunk(name: bytes, content: bytes) -> bytes:
    return name + W64_NAME + struct.pack("<Q", 24 + len(content)) + content + bytes(-len(content) % 8)


@pytest.mark.parametrize("sound", [8000, 8002, 8004, 8006])
def test_a_chunk_behind_padded_sound_stays_what_it_is(sound, tmp_path):
    random = np.random.default_rng(0)
    form = struct.pack("<HHIIHH", 1, 1, 8000, 16_000, 2, 16)
    riff = next(layout.magic for layout in LAYOUTS if layout.format == "w64")
    chunks = [(b"fmt ", form), (b"data", random.bytes(sound)), (b"bext", random.bytes(6000))]
    path = tmp_path / "a"
    path.write_bytes(riff + bytes(8) + b"wave" + W64_NAME + b"".join(w64_chunk(*chunk) for chunk in chunks))
    assert behind(path) == (None, False)


@pytest.mark.parametrize("tail", [b"ID3", b"APETAGEX"])
def test_a_tag_behind_the_file_stays_what_it_is(tail, tmp_path):
    path = made(tmp_path / "a", "wav", share=1)
    with path.open("ab") as file:
        file.write(tail + np.random.default_rng(0).bytes(90_000))
    assert behind(path) == (None, False)


def test_room_that_a_recorder_reserved_is_no_sound(tmp_path):
    path = made(tmp_path / "a", "wav", share=1)
    os.truncate(path, path.stat().st_size + 3_000_000)
    assert behind(path) == (None, False)
    path = made(tmp_path / "b", "wav")
    whole = path.stat().st_size
    os.truncate(path, whole + 3_000_000)
    found, sound = behind(path)
    assert sound
    assert found
    assert found.end == pytest.approx(whole, abs=SLACK)


@pytest.mark.parametrize(
    "junk",
    [
        pytest.param(np.random.default_rng(0).bytes(300_000), id="random"),
        pytest.param(b"\xe9Minutes of the meeting: nobody came.\n" * 9000, id="text"),
    ],
)
@pytest.mark.parametrize("kind", ["wav", "wav float", "wav telephone", "aiff"])
def test_what_is_no_sound_is_not_taken_for_it(kind, junk, tmp_path):
    path = made(tmp_path / "a", kind, share=1)
    size = path.stat().st_size
    with path.open("ab") as file:
        file.write(b"\xff\xfe" + junk)
    found, sound = behind(path)
    assert found
    assert (found.claimed, sound) == (pytest.approx(size, abs=SLACK), False)


@pytest.mark.parametrize("level", [FAINT, 0.1])
def test_noise_behind_such_noise_is_sound(level, tmp_path):
    assert behind(made(tmp_path / "a", "wav", sound=level * hiss(4)))[1]


@pytest.mark.parametrize("tail", [b"", b"LIST\x04\0\0\0INFO"])
def test_a_size_that_wrapped_at_four_gigabytes_ends_where_the_sound_does(tail, tmp_path):
    path = tmp_path / "a"
    head = struct.pack(
        "<4sI4s4sIHHIIHH4sI", b"RIFF", 36, b"WAVE", b"fmt ", 16, 1, 2, 48_000, 192_000, 4, 16, b"data", 4_000_000
    )
    path.write_bytes(head)
    end = len(head) + 4_000_000 + (1 << 32)
    os.truncate(path, end)  # takes no room on the disk
    with path.open("ab") as file:
        file.write(tail)
    with path.open("rb") as file:
        found = find(file)
    assert found
    assert (found.claimed, found.end) == (len(head) + 4_000_000, end)
    with MendedFile(path, found) as mended:
        assert mended.read(44)[40:] == b"\xff\xff\xff\xff", "ffmpeg takes that for: to the end of the file"
        assert mended.seek(0, os.SEEK_END) == end


@given(st.sampled_from([layout.magic for layout in LAYOUTS]), st.binary(max_size=100))
def test_no_header_leads_astray(magic, rest):
    path = Path(os.devnull)
    with path.open("rb") as file:
        assert find(file) is None
    with memory(magic + bytes(4) + rest) as file:
        found = find(file)
    assert found is None or 0 < found.start < found.claimed < found.end


def memory(data: bytes):
    """A file in memory that the system knows the size of."""
    file = os.fdopen(os.memfd_create("a"), "w+b")
    file.write(data + bytes(100) + b"end" * 3000)
    file.seek(0)
    return file
