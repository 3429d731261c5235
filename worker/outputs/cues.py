"""Subtitle cues: segments cut to two short lines each, in order, never two at once. Pure.

Widths are counted in columns: a wide (East Asian) character takes two, every other one.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, chain, pairwise, repeat
from operator import attrgetter
from typing import NamedTuple

from dropscribe.core.confidence import is_unsure
from dropscribe.core.scripts import is_set_solid, is_visible, letters
from dropscribe.core.types import Segment, Transcript, Word
from dropscribe.worker.outputs.text import MARK, clean, labeller, milliseconds

LINE_WIDTH = 42  # columns; the usual limit for subtitles in Latin script
MIN_MS = 500  # a cue that stands for less is a flicker
MAX_LATE_MS = 1000  # so far may a cue lag behind what is said; rather than later, it is shown for less than MIN_MS
PAUSE_MS = 1500  # within a segment, words that are so far apart stand in two cues

SENTENCE_ENDS = ".!?\u2026\u3002\uff01\uff1f"
CLAUSE_ENDS = ",;:\u2014\uff0c\u3001\uff1b\uff1a"
ENDS = dict.fromkeys(CLAUSE_ENDS, 1) | dict.fromkeys(SENTENCE_ENDS, 2)  # how good a place for a break each is
CLOSING = "\"')]\u00bb\u201d\u2019\u300d\u300f\uff09"

# Unicode categories with which no line of a script without spaces begins (marks without their letter among them),
NOT_FIRST = frozenset({"Mn", "Mc", "Me", "Cf", "Sk", "Pe", "Pf", "Po", "Lm"})
NOT_LAST = frozenset({"Ps", "Pi", "Cf"})  # nor ends
UNICODE = "latest"  # for widths: by the environment, as rich has it by default, hosts would write different files


@dataclass(frozen=True, slots=True)
class Cue:
    """What is on screen from `start_ms` to `end_ms` (whole milliseconds, from the recording's start).

    `lines` are one or two; `label` names the speaker, empty where there is none to name.
    """

    start_ms: int
    end_ms: int
    lines: tuple[str, ...]
    label: str = ""


class _Unit(NamedTuple):
    """A piece of text that stays on one line; `blank` says whether one stands before it."""

    text: str
    blank: bool
    width: int


class _Draft(NamedTuple):
    """A cue to be: when it is said (ms), its text in units, what stands before them, and the speaker's label."""

    start: int
    end: int
    units: tuple[_Unit, ...]
    prefix: str
    label: str

    def lines(self) -> tuple[str, ...]:
        """The text in lines that fit."""
        return _lines(self.units, self.prefix, _room(self.prefix))

    def is_visible(self) -> bool:
        """Is there anything to show?"""
        return any(map(is_visible, _text(self.units)))


def cues(transcript: Transcript, *, with_names: bool = False) -> list[Cue]:
    """All cues by time: none overlaps another, starts more than MAX_LATE_MS late or outlasts the recording.

    Each stands for MIN_MS at least, less where so many begin at once that they would otherwise be late. `with_names`
    puts the speaker's name before the text of every cue, within the line's width; a mark before both says that the
    words are unsure. Text without a visible character has no cue.
    """
    label = labeller(transcript)
    drafts = [draft for segment in transcript.segments for draft in _drafts(segment, label(segment), with_names)]
    shown = sorted(filter(_Draft.is_visible, drafts), key=lambda draft: draft.start)
    return _untangled(_merged(shown), milliseconds(transcript.source.duration))


def width(text: str) -> int:
    """Columns that a text takes.

    >>> width("talk"), width("語")
    (4, 2)
    """
    return len(text) if text.isascii() else sum(map(_columns, letters(text)))


@lru_cache(maxsize=4096)
def _columns(letter: str) -> int:
    """A mark without its letter is drawn on a blank."""
    from rich.cells import cell_len  # which a client of the store, who writes no subtitles, does without

    return max(1, cell_len(letter, UNICODE))


def _drafts(segment: Segment, label: str, with_names: bool) -> list[_Draft]:
    """One segment's cues: with the times of their words, or its own time shared out by the width of their text."""
    prefix = _prefix(segment, label if with_names else "")
    room = _room(prefix)
    parts = _parts(_units(clean(segment.text), room), segment.words)
    groups = [*chain.from_iterable(map(_groups, parts, repeat(room)))]
    done = list(accumulate(map(_columns_of, groups), initial=0))
    times = _spoken(segment, done) or _shared(segment, done)
    return [
        _Draft(
            start=begin,
            end=finish,
            units=tuple(group),
            prefix=prefix,
            label=label,
        )
        for group, (begin, finish) in zip(groups, times, strict=True)
    ]


def _room(prefix: str) -> int:
    """The width that the first line has for the text."""
    return LINE_WIDTH - width(prefix)


def _columns_of(units: Iterable[_Unit]) -> int:
    """The width of the text without blanks, by which it is compared with its words."""
    return sum(map(attrgetter("width"), units))


def _parts(units: Sequence[_Unit], words: Sequence[Word]) -> list[Sequence[_Unit]]:
    """The units between the pauses of the words; all in one where the words are not those of the text."""
    ends = list(accumulate(map(_word_columns, words)))
    done = list(accumulate(map(attrgetter("width"), units)))
    if ends[-1:] != done[-1:]:
        return [units]
    pauses = {
        end
        for end, (word, following) in zip(ends, pairwise(words), strict=False)
        if milliseconds(following.start) - milliseconds(word.end) > PAUSE_MS
    }
    cuts = [index for index, end in enumerate(done[:-1], start=1) if end in pauses]
    return [units[start:end] for start, end in pairwise([0, *cuts, len(units)])]


def _word_columns(word: Word) -> int:
    """Columns of a word, without the blanks in it.

    >>> _word_columns(Word(0.0, 0.5, "well"))
    4
    """
    return width("".join(clean(word.text).split()))


def _prefix(segment: Segment, label: str) -> str:
    """What stands before the text: a mark where the words are unsure, and the name of the speaker."""
    name = f"{label}: " if label else ""
    if width(name) > LINE_WIDTH // 2:
        name = ""  # a number of absurd length must not push out the text
    return f"{MARK} {name}" if is_unsure(segment) else name


def _shared(segment: Segment, done: Sequence[int]) -> list[tuple[int, int]]:
    """The segment's time, shared out; `done` are the columns before each cue, and in all."""
    start, end = milliseconds(segment.start), milliseconds(segment.end)
    times = [start + max(0, end - start) * part // max(1, done[-1]) for part in done]
    return list(pairwise(times))


def _spoken(segment: Segment, done: Sequence[int]) -> list[tuple[int, int]]:
    """From each cue's first word to its last; nothing where the words are not known."""
    before = list(accumulate(map(_word_columns, segment.words), initial=0))
    if before[-1] != done[-1] or not done[-1]:
        return []
    words = (
        (segment.words[bisect_right(before, start) - 1], segment.words[bisect_left(before, end) - 1])
        for start, end in pairwise(done)
    )
    return [(milliseconds(first.start), milliseconds(max(first.start, last.end))) for first, last in words]


def _merged(ordered: Iterable[_Draft]) -> list[_Draft]:
    """The drafts, those of one speaker that begin within MIN_MS in one where two lines hold them.

    >>> yes = _Draft(5000, 5200, (_Unit("Yes.", True, 4),), "", "Speaker 1")
    >>> [cue.lines() for cue in _merged([yes, yes._replace(start=5300), yes._replace(start=5600)])]
    [('Yes. Yes.',), ('Yes.',)]
    """
    merged: list[_Draft] = []
    for draft in ordered:
        if merged and (both := _joined(merged[-1], draft)):
            merged[-1] = both
        else:
            merged.append(draft)
    return merged


def _joined(one: _Draft, other: _Draft) -> _Draft | None:
    """Both as one cue; None where they are not crowded, not alike, or too much for two lines."""
    is_alike = (one.label, one.prefix) == (other.label, other.prefix)
    if not is_alike or other.start >= one.start + MIN_MS:
        return None
    first, *rest = other.units
    blank = not (is_set_solid(one.units[-1].text[-1]) and is_set_solid(first.text[0]))
    units = (*one.units, first._replace(blank=blank), *rest)
    if _two_lines(units, 0, _room(one.prefix)) < len(units):
        return None
    return one._replace(end=max(one.end, other.end), units=units)


def _untangled(drafts: Sequence[_Draft], duration: int) -> list[Cue]:
    """The drafts as cues, their times moved as little as needed so that each is seen, alone and not late.

    `duration` is the recording's, in ms. Example: two who begin at 5 s are shown one after the other, the first for as
    long as is needed to be seen:

    >>> yes, no = (_Draft(5000, 9000, (_Unit(text, True, 4),), "", "") for text in ("Yes.", "No."))
    >>> [(cue.start_ms, cue.end_ms) for cue in _untangled([yes, no], 60_000)]
    [(5000, 5500), (5500, 9000)]
    """
    limit = duration + MIN_MS
    runs = _runs(min(draft.start, duration) for draft in drafts)
    starts = [*chain.from_iterable(map(_placed, runs, repeat(limit)))]
    ends = [max(draft.end, start + MIN_MS) for draft, start in zip(drafts, starts, strict=True)]
    return [
        Cue(start, min(end, following, limit), draft.lines(), draft.label)
        for draft, start, end, following in zip(drafts, starts, ends, [*starts, limit][1:], strict=True)
    ]


def _runs(wanted: Iterable[int]) -> list[list[int]]:
    """The starts in runs: within one, each but the first would have to wait for the one before to be seen.

    >>> _runs([0, 100, 600, 2000])
    [[0, 100, 600], [2000]]
    """
    runs: list[list[int]] = []
    free = 0
    for start in wanted:
        if runs and start < free:
            runs[-1].append(start)
            free += MIN_MS
        else:
            runs.append([start])
            free = start + MIN_MS
    return runs


def _placed(run: Sequence[int], limit: int) -> Sequence[int]:
    """When the cues of a run are shown: as far apart as MIN_MS, or as they can be so that none is late.

    Example: of five who begin at once, the last is shown a second later:

    >>> _placed([0, 0, 0, 0, 0], 60_000)
    [0, 250, 500, 750, 1000]
    """

    def is_late(apart: int) -> bool:
        """Would some cue come too late, or the last one end after the limit?"""
        shown = _apart(run, apart)
        return shown[-1] + apart > limit or any(at - due > MAX_LATE_MS for at, due in zip(shown, run, strict=True))

    steps = range(MIN_MS, 1, -1)
    late = bisect_left(steps, True, key=lambda apart: not is_late(apart))
    return _apart(run, MIN_MS - late)


def _apart(run: Sequence[int], apart: int) -> list[int]:
    """The starts, moved so that each is so many ms behind the one before."""
    return list(accumulate(run, lambda last, own: max(own, last + apart)))


def _units(text: str, room: int) -> list[_Unit]:
    """The text in pieces no wider than `room`: words, or single characters of an unspaced script."""
    return [
        _Unit(piece, index == 0, width(piece))
        for word in text.split()
        for index, piece in enumerate(_pieces(word, room))
    ]


def _pieces(word: str, room: int) -> list[str]:
    """A word in pieces that each fit into `room` columns; whole where it fits, or may not be broken."""
    found = letters(word)
    inner = (at for at in range(1, len(found)) if _may_break(found[at - 1][0], found[at][0]))
    parts = (found[start:end] for start, end in pairwise([0, *inner, len(found)]))
    return [*chain.from_iterable(map(_chopped, parts, repeat(room)))]


def _may_break(before: str, after: str) -> bool:
    """May a line end between these two characters? In scripts without spaces only, and not before a full stop.

    >>> _may_break("語", "学"), _may_break("a", "b"), _may_break("語", "。")
    (True, False, False)
    """
    if not (is_set_solid(before) or is_set_solid(after)):
        return False
    return unicodedata.category(after) not in NOT_FIRST and unicodedata.category(before) not in NOT_LAST


def _chopped(part: Sequence[str], room: int) -> list[str]:
    """The letters of a part in pieces that a line can hold, as long as can be."""
    pieces, used = [""], 0
    for sign in chain.from_iterable(map(_signs, part, repeat(room))):
        used += width(sign)
        if used > room:
            pieces.append("")
            used = width(sign)
        pieces[-1] += sign
    return pieces


def _signs(letter: str, room: int) -> Sequence[str]:
    """The letter whole; only an ornament that no line can hold is torn.

    >>> _signs("語", 10)
    ['語']
    """
    return [letter] if width(letter) <= room else letter


def _groups(units: Sequence[_Unit], room: int) -> list[list[_Unit]]:
    """The units of each cue. `room` is the width of its first line.

    Example: two lines of 42 columns would hold the words up to "goes on". The first cue ends with the sentence that
    ends in time; "No." ends one too, but in the first half. The second cue holds the rest. Both have even lines:

    >>> text = "No. This sentence is exactly as long as it has to be."
    >>> text += " And another one, which goes on for quite a while before it ends."
    >>> for group in _groups(_units(text, 42), 42):
    ...     print(_lines(group, "", 42))
    ('No. This sentence is exactly', 'as long as it has to be.')
    ('And another one, which goes on', 'for quite a while before it ends.')
    """
    groups, start = [], 0
    while start < len(units):
        end = _cue_end(units, start, room)
        groups.append(list(units[start:end]))
        start = end
    return groups


def _cue_end(units: Sequence[_Unit], start: int, room: int) -> int:
    """Where to end the cue: all that is left, else after a sentence, a clause, or where it looks even."""
    most = _two_lines(units, start, room)
    if most == len(units):
        return most
    last = _two_lines(units, most, room) == len(units)
    target = _line_width(units[start:]) / 2 if last else _line_width(units[start:most])
    half = start + (most - start + 1) // 2  # an early full stop does not make a scrap of a cue
    return max(
        range(half, most + 1),
        key=lambda end: (_break_quality(units[end - 1].text), -abs(_line_width(units[start:end]) - target)),
    )


def _two_lines(units: Sequence[_Unit], start: int, room: int) -> int:
    """Where the units end that two lines hold."""
    return _one_line(units, _one_line(units, start, room), LINE_WIDTH)


def _one_line(units: Sequence[_Unit], start: int, room: int) -> int:
    """The index after the last unit that one line takes, beginning with unit `start`."""
    used = 0
    for index in range(start, len(units)):
        used += units[index].width + (units[index].blank and index > start)
        if used > room:
            return index
    return len(units)


def _break_quality(text: str) -> int:
    """How well a line ends after this text: 2 after a sentence, 1 after a clause, else 0.

    >>> _break_quality("Yes."), _break_quality("Well,"), _break_quality("and")
    (2, 1, 0)
    """
    return ENDS.get(text.rstrip(CLOSING)[-1:], 0)


def _lines(group: Sequence[_Unit], prefix: str, room: int) -> tuple[str, ...]:
    """One line if it holds all, else two as even as can be."""
    if _line_width(group) <= room:
        return (prefix + _text(group),)
    fitting = (
        cut
        for cut in range(1, len(group))
        if _line_width(group[:cut]) <= room and _line_width(group[cut:]) <= LINE_WIDTH
    )
    shift = LINE_WIDTH - room
    cut = min(fitting, key=lambda cut: abs(shift + _line_width(group[:cut]) - _line_width(group[cut:])))
    return prefix + _text(group[:cut]), _text(group[cut:])


def _line_width(units: Sequence[_Unit]) -> int:
    """Columns that the units take in one line; the blank before the first is not shown."""
    return sum(unit.width + unit.blank for unit in units) - (bool(units) and units[0].blank)


def _text(units: Sequence[_Unit]) -> str:
    """The text of the units, with the blanks between them."""
    return "".join(" " * unit.blank + unit.text for unit in units).lstrip(" ")
