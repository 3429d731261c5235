"""Several sound tracks, and several channels: what is heard of them, together or one by one."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from av.stream import Disposition

from dropscribe.core.errors import DecodeLimitError, NotMediaError
from dropscribe.worker.preparing import media
from dropscribe.worker.preparing.decode import Decoded, Listening, decode
from tests.media_files import LABEL, LIMITS, refused, shared_zygote, tone, wav, write_tracks

SEPARATE = Listening(channels="separate")


def at(second: int) -> np.ndarray:
    """Six seconds of silence but for a tone in that one."""
    samples = np.zeros(6 * 24_000)
    samples[second * 24_000 :][:24_000] = tone(1)
    return samples


def run(source: Path, wanted: Listening = Listening()) -> tuple[Decoded, list[list[int]]]:  # noqa: B008 (frozen)
    """What was decoded, and for each channel of the spool in which seconds there is sound."""
    target = source.with_name("out.flac")
    decoded = media.decode(source, target, source.parent, LIMITS.max_seconds, wanted)
    samples = soundfile.read(target, always_2d=True)[0].T
    assert decoded.duration == samples.shape[1] / 24_000
    seconds = [np.square(lane[: 6 * 24_000].reshape(6, -1)).mean(axis=1) > 1e-5 for lane in samples]
    return decoded, [np.flatnonzero(loud).tolist() for loud in seconds]


def left_out(decoded: Decoded) -> dict[int, str]:
    return {track.number: track.left_out for track in decoded.tracks if track.left_out}


@pytest.mark.parametrize("container", ["mov", "matroska"])
def test_two_microphones_on_two_tracks_are_both_heard(container, tmp_path):
    decoded, heard = run(write_tracks(tmp_path / "a", container, [{"samples": at(1)}, {"samples": at(4)}]))
    assert heard == [[1, 4]]
    assert [(track.number, track.codec, track.channels) for track in decoded.tracks] == [
        (1, "pcm_s16le", 1),
        (2, "pcm_s16le", 1),
    ]
    assert left_out(decoded) == {}


def test_tracks_of_other_kinds_and_lengths_are_mixed_in_step(tmp_path):
    first = {"samples": at(1)[: 3 * 24_000], "codec": "libopus", "layout": "stereo"}
    decoded, heard = run(write_tracks(tmp_path / "a", "matroska", [first, {"samples": at(4)}]))
    assert heard == [[1, 4]]
    assert decoded.duration == pytest.approx(6, abs=0.05)
    assert decoded.silence_inserted == 0


def test_a_silent_first_track_hides_no_other(tmp_path):
    decoded, heard = run(write_tracks(tmp_path / "a", "matroska", [{"samples": np.zeros(144_000)}, {"samples": at(4)}]))
    assert heard == [[4]]
    assert decoded.rms_dbfs + decoded.gain_db == pytest.approx(-25, abs=0.1)


@pytest.mark.parametrize(("there", "damage"), [(b"A_FLAC", b"A_XXXX"), (b"\xff\xf8", b"\0\0")], ids=["codec", "frames"])
def test_an_unreadable_track_does_not_refuse_the_others(there, damage, tmp_path):
    tracks = [{"samples": at(1), "codec": "flac", "layout": "stereo"}, {"samples": at(4)}]
    source = write_tracks(tmp_path / "a", "matroska", tracks)
    source.write_bytes(source.read_bytes().replace(there, damage))
    decoded, heard = run(source)
    assert heard == [[4]]
    assert "damaged" in left_out(decoded)[1]


def test_a_file_none_of_whose_tracks_is_read_says_why(tmp_path):
    source = write_tracks(tmp_path / "a", "matroska", [{"samples": at(1), "codec": "mp2"}])
    source.write_bytes(source.read_bytes().replace(b"A_MPEG/L2", b"A_XXXX/L2"))
    assert "unknown codec" in refused(NotMediaError, source)


def test_commentary_and_other_languages_are_not_heard_unless_asked_for(tmp_path):
    source = write_tracks(
        tmp_path / "a",
        "matroska",
        [
            {"samples": at(0), "metadata": {"language": "eng"}, "mark": Disposition.default},
            {"samples": at(1), "metadata": {"language": "ger"}},
            {"samples": at(2), "metadata": {"language": "eng", "title": "Commentary by the director"}},
            {"samples": at(3), "metadata": {"language": "eng"}, "mark": Disposition.comment},
        ],
    )
    decoded, heard = run(source)
    assert heard == [[0]]
    assert left_out(decoded) == {
        2: "its language is ger",
        3: "its title says that it is commentary",
        4: "it is marked as commentary",
    }
    assert run(source, Listening(tracks="all"))[1] == [[0, 1, 2, 3]]
    assert run(source, Listening(tracks="2,3"))[1] == [[1, 2]]


def test_tracks_that_cancel_each_other_out_are_heard_by_one_of_them(tmp_path):
    decoded, heard = run(write_tracks(tmp_path / "a", "mov", [{"samples": at(2)}, {"samples": -at(2)}]))
    assert heard == [[2]]
    assert decoded.inverted_seconds == pytest.approx(1, abs=0.3)


def stereo(path: Path, *channels: np.ndarray) -> Path:
    return wav(path, np.stack(channels, axis=1).reshape(-1), channels=len(channels))


def test_channels_are_kept_apart_and_each_is_as_loud_as_speech(tmp_path):
    source = stereo(tmp_path / "a.wav", at(1), 0.01 * at(4))
    assert run(source)[1] != [[1], [4]]
    decoded, heard = run(source, SEPARATE)
    assert heard == [[1], [4]]
    assert decoded.separate_channels == (1, 2)


def test_mono_tracks_are_kept_apart_as_channels_are(tmp_path):
    source = write_tracks(tmp_path / "a", "mov", [{"samples": at(1)}, {"samples": at(4)}])
    decoded, heard = run(source, SEPARATE)
    assert (decoded.separate_channels, heard) == ((1, 2), [[1], [4]])


def test_one_channel_alone_is_not_apart(tmp_path):
    decoded, heard = run(wav(tmp_path / "a.wav", at(1)), SEPARATE)
    assert (decoded.separate_channels, heard) == ((), [[1]])
    decoded, heard = run(stereo(tmp_path / "b.wav", at(1), -at(1)), SEPARATE)
    assert (decoded.separate_channels, heard) == ((), [[1]])
    assert decoded.remarks == ("channel 2 holds the same sound as channel 1",)


def test_more_channels_than_the_spool_holds_are_refused_with_the_way_out(tmp_path):
    source = stereo(tmp_path / "a.wav", *[at(1)] * 9)
    with pytest.raises(DecodeLimitError, match=r"9 channels, more than the 8.*`channels` to mix"):
        decode(source, tmp_path / "out.flac", LIMITS, SEPARATE, label=LABEL, zygote=shared_zygote())
    assert len(run(stereo(tmp_path / "b.wav", *[at(n % 6) for n in range(6)]), SEPARATE)[1]) == 6
