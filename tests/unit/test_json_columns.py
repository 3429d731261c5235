"""What columns hold as JSON, of this version and of others."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy.dialects.sqlite import dialect

from dropscribe.core.job_overrides import JobOverrides
from dropscribe.core.types import EngineInfo, Media, Span, SpeakerNames, Track
from dropscribe.store.json_columns import media_of, speech_of, stored_media
from dropscribe.store.tables import ENGINE, OVERRIDES, SPANS, SPEAKERS, TIMINGS, ParsedJson

SQLITE = dialect()
TWO_TRACKS = Media("mov", tracks=(Track(1, "aac"), Track(2, left_out="it is damaged")), separate_channels=(1, 2))
DAMAGED = Media("ogg", damaged=(Span(6.0, 12.0), Span(20.0, 20.0)))


@pytest.mark.parametrize(
    ("column", "value", "stored"),
    [
        (SPANS, (Span(1.0, 2.0), Span(4.0, 5.5)), [[1.0, 2.0], [4.0, 5.5]]),
        (SPEAKERS, SpeakerNames({0: "Ada"}, {3: 0}), {"names": {"0": "Ada"}, "merged": {"3": 0}}),
        (OVERRIDES, JobOverrides(outputs=("srt",), chunk_seconds=60.0), {"outputs": ("srt",), "chunk_seconds": 60.0}),
        (OVERRIDES, JobOverrides(when_done="archive"), {"when_done": "move"}),
        (ENGINE, None, None),
        (
            ENGINE,
            EngineInfo("whisper", "base", "int8", 4),
            {"engine": "whisper", "model": "base", "precision": "int8", "slots": 4},
        ),
        (TIMINGS, {"model": 0.0105}, {"model": 0.0105}),
    ],
)
def test_a_column_gives_back_what_was_written(column: ParsedJson[Any], value: object, stored: object) -> None:
    assert column.process_bind_param(value, SQLITE) == stored
    assert column.process_result_value(stored, SQLITE) == value


def test_timings_are_kept_to_a_tenth_of_a_millisecond() -> None:
    assert TIMINGS.process_bind_param({"model": 0.010506548998819198}, SQLITE) == {"model": 0.0105}


def test_an_engine_of_another_version_is_read_as_far_as_it_is_known() -> None:
    before = {"engine": "whisper", "precision": "int8", "gone": 1}
    assert ENGINE.process_result_value(before, SQLITE) == EngineInfo("whisper", "", "int8")


def test_overrides_of_another_version_are_kept_when_the_row_is_written_again() -> None:
    stored = {"language": "de", "coming": [1, 2]}
    read = OVERRIDES.process_result_value(stored, SQLITE)
    assert read == JobOverrides(language="de", other={"coming": [1, 2]})
    assert OVERRIDES.process_bind_param(read, SQLITE) == stored


def test_only_what_the_folder_says_is_given() -> None:
    assert JobOverrides().given == {}
    assert JobOverrides(engine="whisper", other={"coming": 1}).given == {"engine": "whisper", "coming": 1}


@pytest.mark.parametrize(
    "media", [Media("wav", "pcm_s16le", 2, 44_100), Media("mp3", claimed_duration=0.0), TWO_TRACKS, DAMAGED]
)
def test_a_recording_and_its_speech_come_back_from_one_column(media: Media) -> None:
    stored = stored_media(media, [Span(1.0, 2.0)])
    assert (media_of(stored), speech_of(stored)) == (media, (Span(1.0, 2.0),))
    assert media_of(json.loads(json.dumps(stored))) == media
    assert ("claimed_duration" in stored) == (media.claimed_duration is not None)
    assert "parts" not in stored


def test_the_tracks_that_were_heard_are_named_as_the_setting_has_them() -> None:
    assert (TWO_TRACKS.heard, Media().heard) == ("1", "")


def test_the_speech_of_each_channel_comes_back_where_they_are_apart() -> None:
    both = [Span(1.0, 2.0), Span(4.0, 5.0)]
    apart = stored_media(Media(), both, [both[:1], both[1:]])
    assert [speech_of(apart, channel) for channel in (None, 0, 1)] == [tuple(both), (both[0],), (both[1],)]
    assert speech_of(stored_media(Media(), both), 0) == tuple(both)
    assert speech_of({"speech": [[1.0, 2.0]]}, 0) == (both[0],), "of a version before"


def test_nothing_is_known_of_a_recording_that_was_not_prepared() -> None:
    assert (media_of(None), speech_of(None)) == (None, ())
    assert media_of({"format": "wav", "coming": 1}) == Media("wav")
