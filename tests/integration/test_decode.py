"""Whatever is dropped becomes mono 24 kHz FLAC at one level, or one clear error; never more than its limits."""

import math
import os
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from dropscribe.core.errors import DecodeLimitError, NoAudioError, NotMediaError, SpoolError
from dropscribe.worker.preparing import decode as decoding
from dropscribe.worker.preparing.decode import Decoded, DecodeLimits
from tests import media_files
from tests.conftest import SAMPLES
from tests.media_files import (
    FORMATS,
    LABEL,
    LIMITS,
    SECONDS,
    SELDOM,
    claim_less,
    long_silence,
    shared_zygote,
    sound_frames,
    tone,
    wav,
    write,
)

decode = partial(decoding.decode, zygote=shared_zygote())
refused = partial(media_files.refused, zygote=shared_zygote())


def bare(path: Path) -> Path:
    """The file under a name that says nothing, as it is staged."""
    return path.rename(path.with_name("source-x7"))


def run(source: Path, limits: DecodeLimits = LIMITS, **more) -> tuple[Decoded, np.ndarray]:
    target = source.with_name("out.flac")
    decoded = decode(source, target, limits, label=LABEL, **more)
    info = soundfile.info(target)
    assert (info.samplerate, info.channels, info.format, info.subtype) == (24_000, 1, "FLAC", "PCM_16")
    assert info.duration == decoded.duration
    return decoded, soundfile.read(target)[0]


def dbfs(samples: np.ndarray) -> float:
    return 20 * math.log10(np.sqrt(np.mean(samples**2)))


@pytest.mark.parametrize("name", [*FORMATS, *SELDOM])
def test_every_format_is_read_at_its_length_pitch_and_level(name, tmp_path):
    container, codec, rate, layout, picture = (FORMATS | SELDOM)[name]
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV cannot write {codec}")
    decoded, samples = run(bare(write(tmp_path / "talk", container, codec, rate, layout, picture)))
    assert decoded.duration == pytest.approx(SECONDS, abs=0.15)
    assert (decoded.sample_rate, decoded.channels) == (rate, av.AudioLayout(layout).nb_channels)
    assert (decoded.truncated, decoded.decode_errors, decoded.silence_inserted) == (False, 0, 0)
    assert not decoded.silent
    assert dbfs(samples) == pytest.approx(-25, abs=0.1)
    middle = samples[12_000:36_000]  # one second: a bin of the spectrum a hertz
    assert sorted(np.argsort(np.abs(np.fft.rfft(middle)))[-2:]) == [440, 1000]


def test_the_level_before_and_the_gain_add_up_to_the_target(tmp_path):
    decoded, _ = run(wav(tmp_path / "a.wav", tone(level=0.02)))
    assert decoded.rms_dbfs == pytest.approx(dbfs(tone(level=0.02)), abs=0.1)
    assert decoded.rms_dbfs + decoded.gain_db == pytest.approx(-25, abs=0.05)


@pytest.mark.parametrize("milliseconds", [0.1, 5])
@pytest.mark.parametrize("clicks", [1, 8])
def test_clicks_in_a_faint_recording_are_limited_and_do_not_hold_its_gain(clicks, milliseconds, tmp_path):
    samples = tone(10, level=0.001)
    for start in np.linspace(1000, 230_000, clicks).astype(int):
        samples[start : start + max(1, round(24 * milliseconds))] = 0.9
    decoded, out = run(wav(tmp_path / "a.wav", samples))
    assert decoded.gain_db == pytest.approx(-25 - dbfs(tone(level=0.001)), abs=1)
    assert dbfs(out[5000:30_000]) == pytest.approx(-25, abs=1)
    assert np.abs(out).max() < 0.5


def test_a_loud_sound_that_lasts_keeps_the_rest_down_and_does_not_clip(tmp_path):
    samples = tone(20, level=0.001)
    samples[24_000:28_800] *= 450
    decoded, out = run(wav(tmp_path / "a.wav", samples))
    assert decoded.gain_db == pytest.approx(20 * math.log10(1 / 0.9), abs=0.3)
    assert 0.95 < np.abs(out).max() <= 1


@pytest.mark.parametrize("from_second", [0, 1.3])
def test_an_offset_is_taken_out_before_the_level_is_measured(from_second, tmp_path):
    samples = tone(4, level=0.01)
    samples[round(from_second * 24_000) :] += 0.4
    decoded, out = run(write(tmp_path / "a.wav", "wav", "pcm_f32le", 24_000, samples=samples))
    assert decoded.rms_dbfs == pytest.approx(dbfs(tone(level=0.01)), abs=0.5)
    assert abs(out[48_000:].mean()) < 1e-4


def opposite(path: Path, sound: np.ndarray, *, gain: float = 1.0, delay: int = 0, noise: float = 0.0) -> Path:
    """Stereo whose second channel is the first with its phase inverted."""
    draw = np.random.default_rng(0).normal(0, 1, (2, sound.size)) * noise
    pair = np.stack([sound, -gain * np.roll(sound, delay)], axis=1) + draw.T
    return wav(path, pair.reshape(-1), channels=2)


@pytest.mark.parametrize("how", [{}, {"gain": 0.7}, {"delay": 1}, {"noise": 0.002}], ids=str)
def test_channels_that_cancel_each_other_out_are_heard_by_one_of_them(how, tmp_path):
    decoded, out = run(opposite(tmp_path / "a.wav", tone(), **how))
    assert decoded.rms_dbfs == pytest.approx(dbfs(tone()), abs=0.3)
    assert decoded.inverted_seconds == SECONDS
    assert sorted(np.argsort(np.abs(np.fft.rfft(out[12_000:36_000])))[-2:]) == [440, 1000]


def test_a_recording_whose_phase_is_inverted_on_the_way_is_heard_to_its_end(tmp_path):
    turned = np.where(np.arange(48_000) < 24_000, 1, -1) * tone()
    decoded, out = run(wav(tmp_path / "a.wav", np.stack([tone(), turned], axis=1).reshape(-1), channels=2))
    assert decoded.inverted_seconds == pytest.approx(1, abs=0.11)
    assert dbfs(out[30_000:]) == pytest.approx(dbfs(out[:20_000]), abs=0.1)


def test_faint_hiss_is_raised_by_forty_decibels_at_most(tmp_path):
    decoded, _ = run(wav(tmp_path / "a.wav", np.random.default_rng(0).normal(0, 1e-4, 48_000)))
    assert decoded.gain_db == 40


def test_digital_silence_stays_silence(tmp_path):
    decoded, samples = run(wav(tmp_path / "a.wav", np.zeros(48_000)))
    assert decoded.silent
    assert decoded.gain_db == 0
    assert not samples.any()


def test_samples_that_are_no_numbers_are_silence(tmp_path):
    samples = tone()
    samples[1000:1010], samples[2000] = np.nan, np.inf
    decoded, out = run(write(tmp_path / "a.wav", "wav", "pcm_f32le", 24_000, samples=samples))
    assert decoded.duration == SECONDS
    assert dbfs(out) == pytest.approx(-25, abs=0.1)


@pytest.mark.parametrize("channels", [3, 7, 64])
def test_any_number_of_channels_is_mixed_without_growing_louder(channels, tmp_path):
    decoded, _ = run(wav(tmp_path / "a.wav", np.repeat(tone(), channels), channels=channels))
    assert decoded.channels == channels
    assert decoded.rms_dbfs == pytest.approx(dbfs(tone()), abs=0.1)


def test_a_hole_in_a_container_is_filled_so_that_later_times_are_right(tmp_path):
    samples = np.concatenate((tone(1, 48_000), np.zeros(48_000), tone(1, 48_000)))
    source = write(tmp_path / "a.mkv", "matroska", "libopus", 48_000, "mono", samples=samples, hole=(1.1, 1.9))
    decoded, out = run(source)
    assert decoded.duration == pytest.approx(3, abs=0.1)
    assert decoded.silence_inserted == pytest.approx(0.8, abs=0.05)
    loud = np.flatnonzero(np.abs(out) > 0.02) / 24_000
    assert loud[loud > 1.5][0] == pytest.approx(2, abs=0.03)


def test_sound_that_starts_late_in_a_video_keeps_its_time(tmp_path):
    source = write(tmp_path / "a.mkv", "matroska", "libopus", 48_000, "mono", True, hole=(-1, 1))
    decoded, out = run(source)
    assert decoded.duration == pytest.approx(2, abs=0.1)
    assert np.flatnonzero(np.abs(out) > 0.02)[0] / 24_000 == pytest.approx(1, abs=0.05)


FRAGMENTS = {"movflags": "frag_keyframe+empty_moov", "frag_duration": "1000000"}
# Their index ends the file unless told otherwise, and without it they are refused.
INDEX_FIRST = ("m4a", "m4a lossless", "mp4", "mov")
SILENT = ["aac", "amr"]  # tell nothing of their length
UNTOLD = ["ogg vorbis", "opus", "fragments"]  # end within something that goes on, nobody knows for how long
MORE = ["au", "w64", "fragments", "audio webm", "caf", "tta"]
BREAKABLE = [*(name for name in FORMATS if name not in {*SILENT, "3gp"}), *MORE]


def eight_seconds(name: str, path: Path) -> Path:
    """Noise, so that no format makes it much smaller."""
    more = {
        "au": ("au", "pcm_s16be", 8000, "mono", False),
        "w64": ("w64", "pcm_s16le", 8000, "mono", False),
        "fragments": ("mp4", "aac", 44100, "mono", False),
        "audio webm": ("webm", "libopus", 48000, "mono", False),
    }
    container, codec, rate, layout, picture = (FORMATS | SELDOM | more)[name]
    options = FRAGMENTS if name == "fragments" else {"movflags": "+faststart"} if name in INDEX_FIRST else {}
    noise = np.random.default_rng(0).normal(0, 0.1, rate * 8)
    return write(path, container, codec, rate, layout, picture, samples=noise, options=options)


@pytest.mark.parametrize("name", BREAKABLE)
def test_a_recording_that_breaks_off_is_decoded_as_far_as_it_goes_and_noticed(name, tmp_path):
    source = eight_seconds(name, tmp_path / "a")
    whole = source.stat().st_size
    assert (run(source)[0].truncated, run(source)[0].claimed_duration) == (False, 0)
    for kept in (whole - 6000, whole // 2):
        os.truncate(source, kept)
        decoded, _ = run(source)
        assert decoded.truncated
        assert decoded.claimed_duration == (0 if name in UNTOLD else pytest.approx(8, abs=0.25))
        assert decoded.duration < 8
    assert 2.9 < decoded.duration < 5


@pytest.mark.parametrize("name", SILENT)
def test_what_tells_nothing_of_its_length_is_never_said_to_break_off(name, tmp_path):
    container, codec, rate, layout, picture = FORMATS[name]
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV cannot write {codec}")
    source = write(tmp_path / "a", container, codec, rate, layout, picture)
    os.truncate(source, source.stat().st_size // 2)
    assert not run(source)[0].truncated


def test_a_claim_beyond_the_longest_recording_is_noticed_and_not_told(tmp_path):
    source = eight_seconds("mp3", tmp_path / "a")
    data = bytearray(source.read_bytes())
    frames = data.index(b"Xing" if b"Xing" in data else b"Info") + 8
    data[frames : frames + 4] = b"\x7f\xff\xff\xff"
    source.write_bytes(data)
    decoded, _ = run(source)
    assert (decoded.truncated, decoded.claimed_duration) == (True, 0)


def mp3_without_header(path: Path, seconds: float, bit_rate: int) -> bytes:
    with av.open(str(path), "w", format="mp3", options={"write_xing": "0", "id3v2_version": "0"}) as out:
        stream = out.add_stream("libmp3lame", rate=44_100, layout="mono")
        stream.bit_rate = bit_rate
        for frame in [*sound_frames(tone(seconds, 44_100), 44_100, "mono"), None]:
            out.mux(stream.encode(frame))
    return path.read_bytes()


def test_an_mp3_of_changing_rate_without_a_header_claims_nothing(tmp_path):
    source = tmp_path / "a.mp3"
    source.write_bytes(mp3_without_header(source, 5, 32_000) + mp3_without_header(source, 10, 128_000))
    with av.open(str(source)) as container:
        guessed = container.duration / av.time_base
    decoded, _ = run(source)
    assert guessed > decoded.duration + 5
    assert (decoded.truncated, decoded.claimed_duration) == (False, 0)


@pytest.mark.parametrize("junk", [bytes(5000), b"TAG" + bytes(125), b"\x7f\xff\xff\xffname"])
@pytest.mark.parametrize("name", ["m4a", "opus", "flac", "wav", "mp3"])
def test_what_follows_the_sound_is_not_taken_for_a_part_that_is_missing(name, junk, tmp_path):
    source = eight_seconds(name, tmp_path / "a")
    with source.open("ab") as file:
        file.write(junk)
    assert not run(source)[0].truncated


@pytest.mark.parametrize("name", ["wav", "wav telephone", "aiff"])
def test_a_recording_whose_header_claims_less_than_there_is_is_read_to_its_end(name, tmp_path):
    container, codec, rate, layout, _ = FORMATS[name]
    samples = tone(20, rate)
    decoded, out = run(claim_less(write(tmp_path / "a", container, codec, rate, layout, samples=samples), 0.4))
    assert decoded.duration == pytest.approx(20, abs=0.05)
    assert decoded.header_seconds == pytest.approx(8, abs=0.1)
    assert (decoded.truncated, decoded.unread_bytes) == (False, 0)
    assert dbfs(out[-24_000:]) == pytest.approx(-25, abs=0.2)


def test_what_lies_behind_the_sound_and_is_none_is_not_read_and_told(tmp_path):
    source = wav(tmp_path / "a.wav", tone(8))
    with source.open("ab") as file:
        file.write(b"\xff" + np.random.default_rng(0).bytes(500_000))
    decoded, _ = run(source)
    assert (decoded.duration, decoded.header_seconds) == (8, 0)
    assert decoded.unread_bytes == pytest.approx(500_000, abs=10)


def test_real_recordings_are_whole(audio, tmp_path):
    for source in [*audio.iterdir(), *SAMPLES.iterdir()]:
        if source.suffix in {".wav", ".mp3", ".flac", ".mp4", ".m4a"}:
            decoded = decode(source, tmp_path / "out.flac", DecodeLimits(), label=source.name)
            assert not decoded.truncated, source.name


@pytest.mark.parametrize("claimed", [0, 0x7FFFF000, 0x80000000, 0xFFFFFFFF])
def test_a_wav_from_a_pipe_does_not_know_its_length_and_is_not_cut(claimed, tmp_path):
    with wav(tmp_path / "a.wav", tone()).open("r+b") as file:
        file.seek(40)
        file.write(claimed.to_bytes(4, "little"))
    assert not run(tmp_path / "a.wav")[0].truncated


def test_damaged_packets_are_skipped_and_counted(tmp_path):
    source = write(tmp_path / "a.m4a", "ipod", "aac", samples=np.random.default_rng(0).normal(0, 0.1, 44_100 * 8))
    data = bytearray(source.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 3000] = np.random.default_rng(0).bytes(3000)
    source.write_bytes(data)
    decoded, _ = run(source)
    assert decoded.decode_errors > 0
    assert decoded.duration == pytest.approx(8, abs=0.2)


PLAYLISTS = {
    "m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{canary}\n#EXT-X-ENDLIST\n",
    "ffconcat": "ffconcat version 1.0\nfile {canary}\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
}


@pytest.mark.parametrize("name", ["a.wav", "a.mp3", "a.m3u8", "source-x7"])
@pytest.mark.parametrize("kind", PLAYLISTS)
def test_a_playlist_does_not_open_what_it_names(kind, name, tmp_path):
    canary = tmp_path / "canary.wav"
    os.mkfifo(canary)  # opening it would hang the decoder until its time is up
    source = tmp_path / name
    source.write_text(PLAYLISTS[kind].format(canary=canary))
    refused(NotMediaError, source)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"Minutes of the meeting\n" * 500, id="text"),
        pytest.param(bytes(1 << 20), id="zeros"),
        pytest.param(np.random.default_rng(0).bytes(1 << 20), id="random"),
        pytest.param(b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0", id="half a header"),
        pytest.param(b"\x89PNG\r\n\x1a\n" + bytes(1000), id="picture"),
    ],
)
@pytest.mark.parametrize("name", ["a.wav", "a.mp3", "a.aac", "source-x7"])
def test_what_is_no_media_is_refused_whatever_its_name(content, name, tmp_path):
    source = tmp_path / name
    source.write_bytes(content)
    refused(NotMediaError, source)


def test_a_container_without_its_index_is_not_media(tmp_path):
    source = write(tmp_path / "a.mp4", "mp4", "aac")
    os.truncate(source, source.stat().st_size // 2)  # the index of an mp4 stands at its end
    assert "damaged" in refused(NotMediaError, source)


def test_a_header_without_sound_says_that_nothing_could_be_decoded(tmp_path):
    assert "no audio could be decoded" in refused(NotMediaError, wav(tmp_path / "a.wav", np.zeros(0)))


def test_a_video_without_sound_has_no_audio(tmp_path):
    assert "no sound" in refused(NoAudioError, write(tmp_path / "a.mp4", "mp4", None, picture=True))


def test_a_codec_outside_the_list_is_not_decoded(tmp_path):
    assert "real_144" in refused(NotMediaError, write(tmp_path / "a.mkv", "matroska", "real_144", 8000))


@pytest.mark.parametrize("codec", ["pcm_s16le", "flac"])
def test_a_recording_longer_than_the_limit_is_refused(codec, tmp_path):
    limits = DecodeLimits(max_seconds=1.5)
    container = "wav" if codec == "pcm_s16le" else "flac"
    assert "DROPSCRIBE_DECODE_HOURS" in refused(DecodeLimitError, write(tmp_path / "a", container, codec), limits)


def test_a_claimed_length_beyond_the_limit_is_refused_before_anything_is_decoded(tmp_path):
    limits = DecodeLimits(max_seconds=60, cpu_seconds=2)  # ten hours take longer
    assert "longer than" in refused(DecodeLimitError, long_silence(tmp_path / "a.wav", hours=10), limits)


def test_a_length_that_the_header_hides_is_noticed_while_decoding(tmp_path):
    source = write(tmp_path / "a.mka", "matroska", "flac", options={"live": "1"})
    with av.open(str(source)) as container:
        assert container.duration is None
    assert "longer than" in refused(DecodeLimitError, source, DecodeLimits(max_seconds=1.5))


@pytest.mark.parametrize(("rate", "channels"), [(500, 1), (8000, 65)])
def test_outlandish_rates_and_channels_are_refused(rate, channels, tmp_path):
    refused(DecodeLimitError, wav(tmp_path / "a.wav", np.repeat(tone(), channels), rate, channels))


def test_a_spool_that_is_not_there_says_so(tmp_path):
    source = wav(tmp_path / "a.wav", tone())
    with pytest.raises(SpoolError, match=r"original\.xyz.*make room"):
        decode(source, tmp_path / "no" / "out.flac", LIMITS, label="original.xyz", scratch=tmp_path)
    with pytest.raises(SpoolError, match=r"original\.xyz.*make room"):
        decode(source, tmp_path / "out.flac", LIMITS, label="original.xyz", scratch=tmp_path / "no")


def test_a_working_copy_that_vanished_is_tried_again(tmp_path):
    assert "working copy" in refused(SpoolError, tmp_path / "gone.wav")


def test_a_name_that_is_no_utf8_is_decoded(tmp_path):
    source = Path(os.fsdecode(bytes(tmp_path) + b"/caf\xe9.wav"))
    wav(tmp_path / "a.wav", tone()).rename(source)
    assert run(source)[0].duration == SECONDS
