"""Which files are parts of one recording, with the names that recorders give."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from itertools import pairwise

import pytest

from dropscribe.core.recording_parts import MAX_PARTS
from dropscribe.scheduler.scanning.scan import Observation
from dropscribe.scheduler.scanning.wav_header import WavHeader, parsed
from dropscribe.scheduler.watching.joining import FolderLook, PartsWatch
from dropscribe.scheduler.watching.part_names import part_name
from dropscribe.store.parts import Standing

PCM = WavHeader(1, 1, 48_000, 144_000, 24)  # 24 bit at 48 kHz
HALF_HOUR = 1800 * PCM.speed
GB = 10**9
MINUTES = 60 * 10**9  # ns
WAIT = 600.0


class Folder:
    """Files that are seen together, with what is known of them."""

    def __init__(self, **given: object) -> None:
        self.files: dict[str, Observation] = {}
        self.headers: dict[str, WavHeader | None] = {}
        self.standings: dict[str, Standing] = {}
        self.growing: set[str] = set()
        self.read: list[str] = []
        self.hidden: set[str] = set()
        self.joins = True
        self.watch = PartsWatch(WAIT)

    def put(self, *names: str, size: int = GB, at: int = 0, wav: WavHeader | None = PCM) -> Folder:
        """New files, the later ones as large as the first."""
        for name in names:
            self.files[name] = Observation(size, at)
            self.headers[name] = wav if name.lower().endswith(".wav") else None
        return self

    def joined(self, *names: str, now: float = 0.0) -> list[tuple[str, ...]]:
        """The recordings that are admitted when these files are complete, each with all its files."""
        assert all(part_name(name.rpartition("/")[2]) for name in self.files), "no scheme fits these names"
        return self.later(now, *(names or self.files))

    def later(self, now: float, *complete: str) -> list[tuple[str, ...]]:
        """Likewise, at a later look."""
        look = FolderLook(
            self.files,
            self.growing,
            self._headers,
            lambda _: self.standings,
            lambda _: self.joins,
            self.hidden.__contains__,
        )
        found = self.watch.whole({name: self.files[name] for name in complete}, look, now)
        self.remarks = {one.path: one.remark for one in found}
        return [one.paths for one in found]

    def _headers(self, paths: object) -> Mapping[str, WavHeader | None]:
        self.read += paths
        return {path: self.headers[path] for path in paths}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("GX010042.MP4", "GX020042.MP4"),
        ("GH010042.MP4", "GH020042.MP4"),
        ("GOPR0042.MP4", "GP010042.MP4"),
        ("ZOOM0013_LR-0001.WAV", "ZOOM0013_LR-0002.WAV"),
        ("ZOOM0013_Tr1-0001.WAV", "ZOOM0013_Tr1-0002.WAV"),
        ("DJI_1234_001.MP4", "DJI_1234_002.MP4"),
        ("DJI_01_20251116_040052.WAV", "DJI_02_20251116_043052.WAV"),
        ("TX01_MIC011_20260419_060132_orig.wav", "TX01_MIC012_20260419_063133_orig.wav"),
        ("TASCAM_0001S12.wav", "TASCAM_0002S12.wav"),
        ("talk_001.wav", "talk_002.wav"),
        ("talk_P001.mp4", "talk_P002.mp4"),
        ("talk-01.mp3", "talk-02.mp3"),
    ],
)
def test_names_of_one_recording_have_one_key_and_numbers_that_follow(first: str, second: str) -> None:
    one, other = part_name(first), part_name(second)
    assert one
    assert other
    assert (one.key, one.number + 1) == (other.key, other.number)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("GX010042.MP4", "GX020043.MP4"),
        ("GX010042.MP4", "GH020042.MP4"),
        ("ZOOM0013_LR-0001.WAV", "ZOOM0014_LR-0002.WAV"),
        ("ZOOM0013_Tr1-0001.WAV", "ZOOM0013_Tr2-0002.WAV"),
        ("TX01_MIC011_20260419_060132.wav", "TX02_MIC012_20260419_063133.wav"),
        ("talk_001.wav", "Talk_002.wav"),
        ("talk_001.wav", "talk_002.mp3"),
        ("talk_001.wav", "talk_02.wav"),
    ],
)
def test_names_of_two_recordings_have_two_keys(one: str, other: str) -> None:
    found = part_name(one), part_name(other)
    assert found[0]
    assert found[1]
    assert found[0].key != found[1].key


@pytest.mark.parametrize("name", ["interview.wav", "2026.mp3", "a_1.wav", "x\udc80_001.wav", "_001.wav"])
def test_other_names_are_those_of_no_parts(name: str) -> None:
    assert part_name(name) is None


def test_chapters_of_two_recordings_that_interleave_are_told_apart() -> None:
    folder = Folder().put("GX010042.MP4", "GX010043.MP4", size=4 * GB).put("GX020042.MP4", "GX020043.MP4", size=GB)
    assert folder.joined() == [("GX010042.MP4", "GX020042.MP4"), ("GX010043.MP4", "GX020043.MP4")]


def test_a_short_file_waits_for_nothing() -> None:
    assert Folder().put("GX010042.MP4", size=GB).joined() == [("GX010042.MP4",)]


def test_a_file_that_was_cut_waits_for_the_next_and_is_admitted_without_it_in_the_end() -> None:
    folder = Folder().put("GX010042.MP4", size=4 * GB)
    assert folder.joined(now=100) == []
    (waiting,) = folder.watch.waiting
    assert (waiting.path, waiting.waits_for) == ("GX010042.MP4", "a further part")
    assert folder.watch.due(100) == WAIT
    assert folder.later(100 + WAIT - 1) == []
    assert folder.later(100 + WAIT) == [("GX010042.MP4",)]
    assert folder.watch.waiting == ()
    assert folder.watch.due(100 + WAIT) is None


def test_each_part_that_comes_begins_the_wait_anew_and_a_shorter_one_ends_it() -> None:
    folder = Folder().put("ZOOM0013_LR-0001.WAV", size=2**31)
    assert folder.joined("ZOOM0013_LR-0001.WAV", now=0) == []
    folder.put("ZOOM0013_LR-0002.WAV", size=2**31)
    assert folder.joined("ZOOM0013_LR-0002.WAV", now=WAIT - 1) == []
    assert folder.later(WAIT + 1) == []
    folder.put("ZOOM0013_LR-0003.WAV", size=GB)
    assert folder.joined("ZOOM0013_LR-0003.WAV", now=WAIT + 2) == [
        ("ZOOM0013_LR-0001.WAV", "ZOOM0013_LR-0002.WAV", "ZOOM0013_LR-0003.WAV")
    ]


def test_a_part_that_is_still_written_is_waited_for_as_long_as_it_takes() -> None:
    folder = Folder().put("GX010042.MP4", size=4 * GB).put("GX020042.MP4", size=1000)
    folder.growing.add("GX020042.MP4")
    assert folder.joined("GX010042.MP4", now=0) == []
    assert folder.later(100 * WAIT) == []
    (waiting,) = folder.watch.waiting
    assert (waiting.waits_for, waiting.until) == ("GX020042.MP4, which is still being written", None)
    folder.growing.clear()
    assert folder.joined("GX020042.MP4", now=100 * WAIT) == [("GX010042.MP4", "GX020042.MP4")]


def test_a_gap_in_the_numbers_is_waited_for_and_then_parts_the_files() -> None:
    folder = Folder().put("GX010042.MP4", "GX020042.MP4", "GX040042.MP4", size=4 * GB)
    assert folder.joined() == []
    assert folder.later(WAIT) == [("GX010042.MP4", "GX020042.MP4"), ("GX040042.MP4",)]
    assert "a number between them is missing" in folder.remarks["GX040042.MP4"]


def test_parts_without_a_first_are_recordings_by_themselves() -> None:
    folder = Folder().put("GX020042.MP4", "GX030042.MP4", size=GB)
    assert folder.joined() == []
    assert {one.waits_for for one in folder.watch.waiting} == {"the parts before it"}
    assert folder.later(WAIT) == [("GX020042.MP4",), ("GX030042.MP4",)]
    assert folder.remarks["GX020042.MP4"] == "the first part is missing"


def test_a_part_of_another_format_is_a_recording_by_itself_and_says_why() -> None:
    folder = Folder().put("ZOOM0013_LR-0001.WAV", size=2**31)
    folder.put("ZOOM0013_LR-0002.WAV", wav=PCM._replace(rate=96_000, speed=288_000))
    assert folder.joined() == [("ZOOM0013_LR-0001.WAV",), ("ZOOM0013_LR-0002.WAV",)]
    assert folder.remarks["ZOOM0013_LR-0002.WAV"].endswith("its sound has another format")


def test_a_part_that_is_larger_than_the_one_before_proves_that_this_was_not_cut() -> None:
    folder = Folder().put("GX010042.MP4", size=GB).put("GX020042.MP4", size=GB + GB // 2)
    assert folder.joined() == [("GX010042.MP4",), ("GX020042.MP4",)]


def test_half_hours_of_a_microphone_that_begin_when_the_one_before_ends_are_one_recording() -> None:
    names = [
        "TX01_MIC011_20260419_060132_orig.wav",
        "TX01_MIC012_20260419_063133_orig.wav",
        "TX01_MIC013_20260419_070133_orig.wav",
    ]
    folder = Folder().put(*names[:2], size=HALF_HOUR).put(names[2], size=HALF_HOUR // 3)
    folder.put("TX01_MIC014_20260419_090000_orig.wav", size=HALF_HOUR // 2)
    assert folder.joined() == [tuple(names), ("TX01_MIC014_20260419_090000_orig.wav",)]


def test_recordings_that_begin_at_other_times_are_not_joined_though_their_numbers_follow() -> None:
    folder = Folder().put("DJI_01_20251116_040052.WAV", "DJI_02_20251116_043500.WAV", size=HALF_HOUR // 2)
    assert folder.joined() == [("DJI_01_20251116_040052.WAV",), ("DJI_02_20251116_043500.WAV",)]


def test_files_that_are_only_numbered_are_joined_where_all_but_the_last_end_at_a_cut() -> None:
    folder = Folder().put("talk_001.wav", "talk_002.wav", size=2**31).put("talk_003.wav", size=GB)
    assert folder.joined() == [("talk_001.wav", "talk_002.wav", "talk_003.wav")]


def test_a_numbered_file_that_no_recorder_cut_is_a_recording_by_itself_at_once() -> None:
    folder = Folder().put("talk_001.wav", "talk_002.wav", size=10**7)
    assert folder.joined() == [("talk_001.wav",), ("talk_002.wav",)]
    assert "was not cut" in folder.remarks["talk_002.wav"]


def test_shows_of_half_an_hour_each_day_are_not_one_recording() -> None:
    day = 24 * 60 * MINUTES
    folder = Folder().put("show_001.wav", size=HALF_HOUR, at=0).put("show_002.wav", size=HALF_HOUR, at=day)
    assert folder.joined() == [("show_001.wav",)]
    assert folder.later(WAIT) == [("show_002.wav",)]


def test_files_that_begin_as_the_one_before_ends_are_one_recording_by_their_times() -> None:
    quarter = HALF_HOUR // 2
    folder = Folder().put("talk_001.wav", size=quarter, at=0).put("talk_002.wav", size=quarter // 3, at=5 * MINUTES)
    assert folder.joined() == [("talk_001.wav", "talk_002.wav")]


def test_a_counter_of_recordings_is_joined_from_any_number() -> None:
    folder = Folder().put("TASCAM_0007S12.wav", size=2**31).put("TASCAM_0008S12.wav", size=GB)
    assert folder.joined() == [("TASCAM_0007S12.wav", "TASCAM_0008S12.wav")]


def test_a_numbered_file_does_not_begin_in_the_middle() -> None:
    folder = Folder().put("talk_017.wav", size=2**31).put("talk_018.wav", size=GB)
    assert folder.joined() == [("talk_017.wav",), ("talk_018.wav",)]


def test_ten_thousand_numbered_files_that_are_no_parts_are_admitted_at_once() -> None:
    names = [f"clip_{number:04}.mp3" for number in range(10_000)]
    folder = Folder().put(*names, size=10**6)
    assert len(folder.joined()) == len(names)


def test_more_files_in_a_row_than_a_recording_has_are_none() -> None:
    names = [f"talk_{number:03}.wav" for number in range(1, MAX_PARTS + 2)]
    folder = Folder().put(*names, size=2**31)
    assert folder.joined() == [(name,) for name in names]
    assert str(MAX_PARTS) in folder.remarks["talk_001.wav"]


def test_a_part_that_comes_after_the_others_were_admitted_makes_the_recording_anew() -> None:
    folder = Folder().put("GX010042.MP4", "GX020042.MP4", size=4 * GB).put("GX030042.MP4", size=GB)
    folder.standings = {"GX010042.MP4": Standing.OWN, "GX020042.MP4": Standing.PART}
    assert folder.joined("GX030042.MP4") == [("GX010042.MP4", "GX020042.MP4", "GX030042.MP4")]


@pytest.mark.parametrize("standing", [Standing.OWN, Standing.FORGOTTEN])
def test_what_was_transcribed_by_itself_or_forgotten_is_not_joined(standing: Standing) -> None:
    folder = Folder().put("GX010042.MP4", size=4 * GB).put("GX020042.MP4", size=4 * GB)
    folder.put("GX030042.MP4", size=GB)
    folder.standings = {"GX010042.MP4": Standing.OWN, "GX020042.MP4": standing}
    assert folder.joined("GX030042.MP4") == [("GX030042.MP4",)]


def test_a_part_that_changes_or_goes_while_it_waits_is_forgotten() -> None:
    folder = Folder().put("GX010042.MP4", "GX020042.MP4", size=4 * GB)
    assert folder.joined() == []
    folder.files["GX010042.MP4"] = Observation(5, 5)
    del folder.files["GX020042.MP4"]
    assert folder.later(WAIT) == []
    assert folder.watch.waiting == ()


def test_a_file_that_waits_where_nothing_can_be_read_for_a_while_is_not_lost() -> None:
    folder = Folder().put("GX010042.MP4", size=4 * GB)
    assert folder.joined() == []
    folder.hidden, hidden = {"GX010042.MP4"}, folder.files.pop("GX010042.MP4")
    assert folder.later(WAIT) == folder.later(2 * WAIT) == []
    folder.files["GX010042.MP4"] = hidden
    assert folder.later(2 * WAIT) == [], "its folder's settings are broken"
    folder.hidden.clear()
    assert folder.later(2 * WAIT) == [("GX010042.MP4",)]


def test_files_that_wait_are_recordings_by_themselves_once_their_folder_does_not_join() -> None:
    folder = Folder().put("GX010042.MP4", "GX020042.MP4", size=4 * GB)
    assert folder.joined() == []
    folder.joins = False
    assert folder.later(1.0) == [("GX010042.MP4",), ("GX020042.MP4",)]
    assert (folder.watch.held, folder.watch.waiting) == ({}, ())


def test_headers_are_read_once_until_a_file_changes() -> None:
    folder = Folder().put("ZOOM0013_LR-0001.WAV", size=2**31)
    folder.joined()
    folder.later(1)
    assert folder.read == ["ZOOM0013_LR-0001.WAV"]


def test_files_of_several_folders_are_kept_apart() -> None:
    folder = Folder().put("a/GX010042.MP4", size=4 * GB).put("b/GX020042.MP4", size=GB)
    folder.joined()
    assert folder.later(WAIT) == [("a/GX010042.MP4",), ("b/GX020042.MP4",)]


def _riff(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"".join(name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2) for name, data in chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + b"WAVE" + body


FORM = struct.pack("<HHIIHH", 1, 2, 48_000, 288_000, 6, 24)


def test_a_header_is_read_behind_what_recorders_put_before_it() -> None:
    head = _riff((b"bext", bytes(603)), (b"fmt ", FORM), (b"data", b""))
    assert parsed(head) == WavHeader(1, 2, 48_000, 288_000, 24)


def test_what_is_no_header_or_made_to_mislead_is_none() -> None:
    whole = _riff((b"fmt ", FORM))
    heads = [b"", b"RIFF", whole[:30], _riff((b"fmt ", bytes(16))), _riff(*[(b"junk", b"")] * 100, (b"fmt ", FORM))]
    assert [*map(parsed, heads)] == [None] * len(heads)


def test_the_parts_of_a_recording_follow_each_other() -> None:
    names = [f"ZOOM0001_LR-{number:04}.WAV" for number in range(1, 12)]
    ((*found,),) = Folder().put(*names[:-1], size=2**31).put(names[-1], size=GB).joined()
    assert all(one < other for one, other in pairwise(found))
