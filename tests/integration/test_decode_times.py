"""Sentences at 2, 9 and 15 s are heard at their times, whatever the clock of the file does."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from dropscribe.worker.preparing import media
from dropscribe.worker.preparing.decode import Decoded
from tests.media_files import sound_frames, write
from tests.timed_media import PACKET, SECONDS, SENTENCES, Packet, mka, onsets, packets, three_sentences, timed

LONGEST = 3600.0  # s
RIGHT = 0.3  # s
OF_A_DAY = 25 * 3600.0


def heard(source: Path) -> tuple[Decoded, list[float]]:
    target = source.with_name("out.flac")
    return media.decode(source, target, source.parent, LONGEST), onsets(target)


def jitter(number: int, true: float) -> float:
    random = np.random.default_rng(number)
    return max(0.0, true + (random.choice([-0.15, 0.15]) if random.random() < 0.2 else 0.0))


@pytest.mark.parametrize(
    "sound",
    [
        pytest.param(timed(lambda number, true: true - 5 * (number == 300)), id="one is 5 s too early"),
        pytest.param(timed(lambda number, true: true + 5 * (number > 0)), id="the first is 5 s too early"),
        pytest.param(timed(lambda number, true: true + 5 * (number == 999)), id="the last is 5 s too late"),
        pytest.param(timed(jitter), id="jitter on a fifth"),
        pytest.param(timed(lambda _, true: true - 5 * (true > 12)), id="set back for good"),
        pytest.param(timed(lambda _, true: true + OF_A_DAY * (true > 12)), id="a day ahead"),
        pytest.param(timed(lambda _, true: true + 4), id="starts at 4 s"),
        pytest.param(timed(lambda _, true: true + OF_A_DAY), id="starts at 25 h"),
    ],
)
@pytest.mark.parametrize("header", ["last moment", "length", "nothing"])
def test_wrong_timestamps_move_no_sentence_and_nothing_is_said_to_be_missing(
    sound: list[Packet], header: str, tmp_path: Path
) -> None:
    said = {"last moment": max(time for time, _ in sound) + PACKET, "length": SECONDS, "nothing": None}[header]
    decoded, times = heard(mka(tmp_path / "a", sound, said))
    assert times == pytest.approx(SENTENCES, abs=0.02)
    assert decoded.duration == pytest.approx(SECONDS, abs=0.01)
    assert (decoded.silence_inserted, decoded.truncated, decoded.decode_errors) == (0, False, 0)


@pytest.mark.parametrize("packet", [PACKET, 1.0])
@pytest.mark.parametrize("speed", [0.97, 1.03])
def test_a_clock_that_runs_slow_or_fast_is_followed(speed: float, packet: float, tmp_path: Path) -> None:
    decoded, times = heard(mka(tmp_path / "a", timed(lambda _, true: true * speed, packet), SECONDS * speed))
    assert times == pytest.approx([true * speed for true in SENTENCES], abs=0.15)
    assert (decoded.silence_inserted, decoded.truncated) == (0, False)


@pytest.mark.parametrize("header", [SECONDS, 18.0, 10.0, None])
def test_a_gap_is_filled_whatever_length_the_header_says(header: float | None, tmp_path: Path) -> None:
    sound = [packet for packet in timed(lambda _, true: true) if not 11 <= packet[0] < 14]
    decoded, times = heard(mka(tmp_path / "a", sound, header))
    assert times == pytest.approx(SENTENCES, abs=0.02)
    assert (decoded.silence_inserted, decoded.truncated) == (pytest.approx(3, abs=0.01), False)


def test_a_file_that_starts_late_and_breaks_off_is_still_noticed(tmp_path: Path) -> None:
    source = mka(tmp_path / "a", [(time + 4, data) for time, data in packets(three_sentences())][:600], SECONDS + 4)
    decoded, _ = heard(source)
    assert (decoded.duration, decoded.truncated) == (pytest.approx(12, abs=0.01), True)
    assert decoded.claimed_duration == pytest.approx(SECONDS, abs=0.1)


@pytest.mark.parametrize(
    ("container", "codec"),
    [("webm", "libopus"), ("ogg", "libopus"), ("asf", "mp2"), ("mp4", "aac"), ("mpegts", "mp2"), ("flv", "aac")],
)
def test_every_container_whose_clock_starts_at_25_hours_is_read(container: str, codec: str, tmp_path: Path) -> None:
    source, rate = tmp_path / "a", 48_000
    with av.open(str(source), "w", format=container) as out:
        stream = out.add_stream(codec, rate=rate, layout="mono")
        for frame in [*sound_frames(three_sentences(rate), rate, "mono"), None]:
            for packet in stream.encode(frame):
                packet.pts += round(OF_A_DAY * rate)
                packet.dts = packet.pts
                out.mux(packet)
    decoded, times = heard(source)
    assert times == pytest.approx(SENTENCES, abs=0.05)
    assert (decoded.silence_inserted, decoded.truncated) == (0, False)


@pytest.mark.parametrize(("container", "codec"), [("adts", "aac"), ("mp3", "libmp3lame")])
def test_streams_without_a_clock_are_counted_by_their_samples(container: str, codec: str, tmp_path: Path) -> None:
    source, rates = tmp_path / "a", (22_050, 44_100, 48_000)
    parts = [write(source, container, codec, rate, samples=three_sentences(rate)).read_bytes() for rate in rates]
    source.write_bytes(b"".join(parts))
    decoded, times = heard(source)
    assert times == pytest.approx([SECONDS * part + true for part in range(3) for true in SENTENCES], abs=RIGHT)
    assert (decoded.silence_inserted, decoded.truncated) == (0, False)
