"""Of several sound tracks those with the speech of the recording are heard, or those that somebody asked for."""

import pytest
from av.stream import Disposition

from dropscribe.core.errors import NoAudioError
from dropscribe.core.types import Track
from dropscribe.worker.preparing.tracks import MAX_HEARD, chosen

NONE = Disposition(0)


def heard(
    *tracks: Track, marks: dict[int, Disposition] | None = None, best: int = 1, wanted: str = "speech"
) -> list[int]:
    """The numbers of the tracks that are heard."""
    found = chosen(tracks, [(marks or {}).get(track.number, NONE) for track in tracks], best, wanted)
    assert [track.number for track in found] == [track.number for track in tracks]
    return [track.number for track in found if not track.left_out]


def tracks(*languages: str) -> list[Track]:
    return [Track(number, "aac", language=language) for number, language in enumerate(languages, 1)]


def test_two_microphones_are_both_heard():
    assert heard(*tracks("", "")) == [1, 2]


def test_other_languages_than_that_of_the_best_track_are_left_out():
    assert heard(*tracks("eng", "ger", "eng", "")) == [1, 3, 4]
    assert heard(*tracks("eng", "ger", "eng", ""), best=2) == [2, 4]
    assert heard(*tracks("", "ger", "eng"), best=1) == [1, 2]


@pytest.mark.parametrize(
    "mark", [Disposition.comment, Disposition.visual_impaired, Disposition.clean_effects | Disposition.default]
)
def test_commentary_and_descriptions_are_left_out_by_their_marks(mark):
    assert heard(*tracks("eng", "eng"), marks={2: mark}) == [1]
    assert heard(*tracks("eng", "eng"), marks={1: mark}) == [2]


@pytest.mark.parametrize("title", ["Director's Commentary", "Kommentar der Regie", "English Audio Description"])
def test_a_title_tells_what_a_mark_does_not(title):
    assert heard(Track(1), Track(2, title=title)) == [1]


def test_marks_that_would_leave_nothing_do_not_count():
    assert heard(*tracks("eng"), marks={1: Disposition.comment}) == [1]


def test_what_cannot_be_read_is_left_out_and_says_no_language():
    unreadable = Track(1, language="ger", left_out="it is damaged")
    assert heard(unreadable, Track(2, language="eng")) == [2]
    assert heard(unreadable, Track(2, language="eng"), wanted="all") == [2]


def test_a_setting_chooses():
    four = tracks("eng", "ger", "", "")
    assert heard(*four, marks={4: Disposition.comment}, wanted="all") == [1, 2, 3, 4]
    assert heard(*four, wanted="2,4") == [2, 4]
    with pytest.raises(NoAudioError, match="no sound track 5, only 4"):
        heard(*four, wanted="1,5")


def test_no_more_are_heard_than_there_is_room_for():
    assert heard(*tracks(*[""] * (MAX_HEARD + 3)), wanted="all") == list(range(1, MAX_HEARD + 1))
