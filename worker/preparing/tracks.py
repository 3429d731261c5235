"""Which of the sound tracks of a recording are heard: by their marks and languages, or as somebody asked."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Sequence
from dataclasses import replace
from itertools import starmap
from operator import attrgetter

from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition

from dropscribe.core.errors import NoAudioError
from dropscribe.core.types import Track

ALL, SPEECH = "all", "speech"
MAX_HEARD = 16  # tracks at once: broadcast files have so many; each is decoded into a file of its own
NO_LANGUAGE = frozenset({"", "und", "mis", "mul", "zxx", "qaa", "unknown"})  # codes that name none

# What a track is that does not hold the speech of its recording.
MARKS = {
    Disposition.comment: "it is marked as commentary",
    Disposition.visual_impaired: "it describes pictures",
    Disposition.clean_effects: "it is marked as effects without speech",
    Disposition.karaoke: "it is marked as karaoke",
}
COMMENTARY = re.compile(r"comment(ary|aire)|kommentar|audio.?descri", re.IGNORECASE)  # in titles

NOT_ASKED_FOR = "it was not selected"
TOO_MANY = f"more than {MAX_HEARD} cannot be transcribed at once"


def listed(container: InputContainer, codecs: Container[str]) -> tuple[Track, ...]:
    """All sound tracks in their order; those whose codec is unknown or none of `codecs` are left out."""
    return tuple(_track(number, stream, codecs) for number, stream in enumerate(container.streams.audio, 1))


def _track(number: int, stream: AudioStream, codecs: Container[str]) -> Track:
    """A track of the file, and why it is left out if it is."""
    track = Track(number, title=stream.metadata.get("title", ""), language=_language(stream))
    context = stream.codec_context
    if not context:  # whatever its type says: FFmpeg has no decoder for some
        return _without(track, "it is damaged, encrypted or in an unknown codec")
    found = replace(
        track, codec=context.codec.canonical_name, channels=context.channels, sample_rate=context.sample_rate
    )
    return found if context.codec.name in codecs else _without(found, f"the codec {context.codec.name} is not read")


def _language(stream: AudioStream) -> str:
    """The language that the file gives for a track; empty where it gives none."""
    language = stream.metadata.get("language", "").strip().lower()
    return "" if language in NO_LANGUAGE else language


def chosen(tracks: Sequence[Track], marks: Sequence[Disposition], best: int, wanted: str) -> tuple[Track, ...]:
    """The tracks, with the reason for each that is not heard.

    `marks` are what the file says of each; `best` is the number of the one that a player would pick. `wanted` is
    `speech`, `all`, or numbers with commas between. Where marks would leave nothing, they do not count.
    Raises NoAudioError for a number that there is not.
    """
    if wanted == ALL:
        return _few(tracks)
    if wanted != SPEECH:
        return _few(_asked_for(tracks, set(map(int, wanted.split(",")))))
    marked = [*starmap(_marked, zip(tracks, marks, strict=True))]
    found = marked if heard(marked) else tracks
    return _few(_of_language(found, _main_language(found, best)))


def heard(tracks: Iterable[Track]) -> list[Track]:
    """Those that are not left out."""
    return [track for track in tracks if not track.left_out]


def missed(tracks: Iterable[Track]) -> list[Track]:
    """Those that somebody might look for: left out, although nobody said so."""
    return [track for track in tracks if track.left_out not in {"", NOT_ASKED_FOR}]


def _asked_for(tracks: Sequence[Track], numbers: set[int]) -> Sequence[Track]:
    """The tracks, those left out that nobody asked for. Raises NoAudioError for one that there is not."""
    missing = sorted(numbers - set(map(attrgetter("number"), tracks)))
    if missing:
        raise NoAudioError(
            f"it has no sound track {missing[0]}, only {len(tracks)}", remedy="change `tracks`, or remove it"
        )
    return [track if track.number in numbers else _without(track, NOT_ASKED_FOR) for track in tracks]


def _marked(track: Track, mark: Disposition) -> Track:
    """The track; left out where its title or its marks say that it is commentary or the like."""
    if COMMENTARY.search(track.title):
        return _without(track, "its title says that it is commentary")
    return _without(track, next((reason for kind, reason in MARKS.items() if kind in mark), ""))


def _main_language(tracks: Sequence[Track], best: int) -> str:
    """That of the best track that is heard and says one."""
    speaking = [track for track in heard(tracks) if track.language]
    return min(speaking, key=lambda track: (track.number != best, track.number), default=Track(0)).language


def _of_language(tracks: Sequence[Track], language: str) -> Sequence[Track]:
    """The tracks, those of other languages left out."""
    return [
        _without(track, f"its language is {track.language}") if track.language not in {"", language} else track
        for track in tracks
    ]


def _few(tracks: Sequence[Track]) -> tuple[Track, ...]:
    """The tracks, those left out that are too many."""
    few = heard(tracks)[:MAX_HEARD]
    return tuple(track if track in few else _without(track, TOO_MANY) for track in tracks)


def _without(track: Track, reason: str) -> Track:
    """The track left out for this reason, unless it has one already."""
    return replace(track, left_out=track.left_out or reason)
