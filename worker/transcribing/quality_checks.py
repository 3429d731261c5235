"""Is this answer to be believed? Pure checks of one chunk's transcript against its audio.

The checks do not know what was said, but many errors are visible in the output: it breaks off, repeats itself, leaves
out speech, has more words than anybody can say in the time, or the model is not sure of it. Thresholds are set so that
good answers pass; `python -m bench.gate` and `python -m bench.confidence` measure how many do.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import accumulate, groupby
from operator import attrgetter, lt

from dropscribe.core import confidence, spans
from dropscribe.core.audio import MIN_SPEECH
from dropscribe.core.scripts import ALPHABETIC, SYLLABLE
from dropscribe.core.types import FinishReason, RawTranscript, Segment, Span

BREATH = 1.0  # s; a pause as short belongs to the talk around it
BLIP = 1.0  # s; what is shorter and stands alone is a cough, a click or an "mhm", which models rightly leave out
MIN_UNCOVERED = 3.0  # s of talk below which a low share says nothing: there was hardly any
MAX_GAP = 30.0  # s of talk between two segments: several utterances, and longer than a jingle taken for speech
SILENT_ANSWER = 5.0  # s of talk that an answer without a word cannot have overheard
MIN_DOUBTFUL = 5.0  # s of words below which their confidence says little: a name and a cough can be all of them
SHORT = 2.0  # s; in less, rounded times make any speech rate possible
BURST = 2.0  # times the bound for a whole chunk that a single segment may reach

# What is written without spaces counts by letters: most Chinese characters and kana are a syllable, of which a word
# has one and a half; in Thai, Lao, Burmese and Khmer a word takes about five letters.
SYLLABLES_A_WORD = 1.5
LETTERS_A_WORD = 5


class Rule(StrEnum):
    """What an answer can fail."""

    TRUNCATED = "truncated"
    LOOP = "loop"
    MAX_NEW_TOKENS = "max_new_tokens"
    TIMES = "times"
    SILENT = "silent"
    COVERAGE = "coverage"
    SPEECH_RATE = "speech_rate"
    CONFIDENCE = "confidence"


KEPT_WHOLE = frozenset({Rule.CONFIDENCE})  # what reading a half again does not fix

ENDINGS = {
    FinishReason.TRUNCATED: (Rule.TRUNCATED, "the model's output breaks off"),
    FinishReason.LOOP: (Rule.LOOP, "the model repeated itself"),
}


@dataclass(frozen=True, slots=True)
class CheckLimits:
    """How wrong an answer may look before it is not believed.

    `coverage` is the share of the detected talk that segments must account for.

    `words_per_second` is the highest credible speech rate, over the time in which somebody is said to speak. Readers of
    17 languages say 4 to 9 syllables a second (Coupé et al., Science Advances 5, 2019, eaaw2594). An English word has
    1.4 of them, so that 9 are 6.4 words, pauses not counted; 7 also leaves room for Vietnamese, which puts a space
    after each syllable and has 5.3 of them on average.

    `slack` are the seconds that times may be wrong: models round them, and detectors add 0.2 s around speech. A
    segment may stick out of its chunk by as much, or begin before the one before it; and it accounts for as much more
    on either side, so that gaps of twice that between segments do not count.

    `confidence` is the least that is believed, of all words on average over their time; 0 believes any. Answers of an
    engine that gives no confidence pass.
    """

    coverage: float = 0.8
    words_per_second: float = 7.0
    slack: float = 0.5
    confidence: float = 0.5


DEFAULT = CheckLimits()


@dataclass(frozen=True, slots=True)
class Failure:
    """A rule that an answer failed; as text, a sentence for people."""

    rule: Rule
    detail: str

    def __str__(self) -> str:
        """What was found."""
        return self.detail


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What is wrong with an answer, if anything.

    `missing` is talk of half a second or more that no segment accounts for, in the chunk's time; an answer may pass in
    spite of some. `measures` are the `coverage` and `words_per_second` found, and the `confidence` where there is one.
    """

    failures: tuple[Failure, ...] = ()
    missing: tuple[Span, ...] = ()
    measures: dict[str, float] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Is the answer to be believed?"""
        return not self.failures


def check(result: RawTranscript, duration: float, speech: Iterable[Span], limits: CheckLimits = DEFAULT) -> CheckResult:
    """Judge the answer to a chunk of `duration` seconds; `speech` is where speech was detected, in the chunk's time.

    A cancelled answer is judged like any other.
    """
    talk = _talk(speech, duration)
    accounted = _accounted(result.segments, limits.slack)
    holes = spans.without(talk, accounted)
    gaps = spans.lasting(holes, BLIP)
    share = 1 - spans.total(gaps) / spans.total(talk) if talk else 1.0
    pace = _pace(result.segments)
    failures = (
        *_ending(result),
        *_times(result.segments, duration, limits.slack),
        *_coverage(gaps, accounted, share, limits.coverage),
        *_haste(result.segments, pace, limits.words_per_second),
        *_doubt(result.segments, limits.confidence),
    )
    sure = confidence.average(result.segments)
    measures = {"coverage": share, "words_per_second": pace} | ({} if sure is None else {"confidence": sure})
    return CheckResult(failures, tuple(spans.lasting(holes, MIN_SPEECH)), measures)


def words(text: str) -> float:
    """How long a text is, in words that take as long to say as English ones.

    >>> words("one two three")
    3.0
    """
    syllables, letters = len(SYLLABLE.findall(text)), len(ALPHABETIC.findall(text))
    spaced = ALPHABETIC.sub(" ", SYLLABLE.sub(" ", text)).split()
    named = sum(any(map(str.isalnum, word)) for word in spaced)  # a dash is not a word
    return named + syllables / SYLLABLES_A_WORD + letters / LETTERS_A_WORD


def _ending(result: RawTranscript) -> Iterator[Failure]:
    """Did the model end by itself, within its tokens?"""
    if result.ended in ENDINGS:
        yield Failure(*ENDINGS[result.ended])
    if result.output_tokens >= result.budget > 0:
        yield Failure(Rule.MAX_NEW_TOKENS, f"the output used up its {result.budget:,} tokens")


def _times(segments: Sequence[Segment], duration: float, slack: float) -> Iterator[Failure]:
    """Are the times within the chunk, and in order?"""
    starts, ends = [*map(attrgetter("start"), segments)], [*map(attrgetter("end"), segments)]
    if min(starts, default=0.0) < -slack or max(ends, default=0.0) > duration + slack:
        yield Failure(Rule.TIMES, "the output has times outside its chunk")
    elif any(map(lt, ends, starts)):
        yield Failure(Rule.TIMES, "the output has a segment that ends before it begins")
    elif any(start < latest - slack for start, latest in zip(starts, accumulate(starts, max), strict=True)):
        yield Failure(Rule.TIMES, "the output goes back in time")


def _coverage(gaps: Sequence[Span], accounted: Sequence[Span], share: float, least: float) -> Iterator[Failure]:
    """An answer without a word may well be right about a few short noises, but not about this much talk."""
    uncovered = spans.total(gaps)
    longest = _longest_hole(gaps, accounted)
    if not accounted:
        if uncovered >= SILENT_ANSWER:
            yield Failure(Rule.SILENT, f"no word was read in {uncovered:.0f} s of detected speech")
    elif share < least and uncovered >= MIN_UNCOVERED:
        yield Failure(Rule.COVERAGE, f"only {100 * share:.0f} % of the detected speech is covered")
    elif longest >= MAX_GAP:
        yield Failure(Rule.COVERAGE, f"{longest:.0f} s of detected speech on end are not covered")


def _longest_hole(gaps: Sequence[Span], accounted: Sequence[Span]) -> float:
    """Seconds of talk between two segments, at most."""
    holes = groupby(gaps, lambda gap: bisect_right(accounted, gap.start, key=attrgetter("end")))
    return max((spans.total(hole) for _, hole in holes), default=0.0)


def _haste(segments: Sequence[Segment], pace: float, most: float) -> Iterator[Failure]:
    """Text crammed into the time of all segments, or of one.

    >>> [*_haste([Segment(0, 1, "one two")], pace=2.0, most=6.0)]
    []
    """
    fastest = max((_pace([segment]) for segment in segments), default=0.0)
    if pace > most:
        yield Failure(Rule.SPEECH_RATE, f"nobody says {pace:.0f} words a second")
    elif fastest > BURST * most:
        yield Failure(Rule.SPEECH_RATE, f"nobody says {fastest:.0f} words a second, as one segment has it")


def _doubt(segments: Sequence[Segment], least: float) -> Iterator[Failure]:
    """Fluent words for something that the model does not understand: a language that it does not know, noise."""
    figure = confidence.average(segments)
    seconds = spans.total(_accounted((s for s in segments if s.confidence is not None), 0.0))
    if figure is not None and figure < least and seconds >= MIN_DOUBTFUL:
        yield Failure(Rule.CONFIDENCE, f"the model is not sure of its words: their confidence is {figure:.2f}")


def _pace(segments: Iterable[Segment]) -> float:
    """Words a second of the time that speech covers; where people talk at once, it counts once.

    >>> _pace([Segment(0, 2, "one two three four")])
    2.0
    """
    said = [*filter(attrgetter("is_speech"), segments)]
    spoken = spans.total(_accounted(said, 0.0))
    return sum(words(segment.text) for segment in said) / max(spoken, SHORT)


def _talk(detected: Iterable[Span], duration: float) -> list[Span]:
    """Speech within the chunk, together with the short pauses in it."""
    heard = spans.common(detected, [Span(0.0, duration)])
    return spans.merged([*heard, *(pause for pause in spans.between(heard) if pause.duration <= BREATH)])


def _accounted(segments: Iterable[Segment], slack: float) -> list[Span]:
    """The time of all segments, of words and of sounds such as [Music]; backward ones have none."""
    return spans.merged(Span(s.start - slack, s.end + slack) for s in segments if s.start <= s.end)
