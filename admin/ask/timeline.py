"""The timeline of a job, from its events: who worked on it, how often, and where the time went. Pure.

Time in which somebody works on the job counts as that work, all other time as waiting for the work that ends it; of
chunks that are read side by side, each moment counts once. So the parts add up to the whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter

from dropscribe.core.event_kinds import EventKind
from dropscribe.core.types import JobState, Span
from dropscribe.store.events import Event

PREPARE, TRANSCRIBE, FINISH = "prepare", "transcribe", "finish"
BEGINS: dict[str, str] = {
    EventKind.PREPARING: PREPARE,
    EventKind.TRANSCRIBING: TRANSCRIBE,
    EventKind.FINISHING: FINISH,
}
# What ends an attempt: of the chunk or the step that the event is about, or all of the job's. By the table of
# transitions, which a test looks up, as it loads SQLAlchemy.
ENDS_ONE = frozenset(
    {EventKind.PREPARED, EventKind.FOLLOWS, EventKind.TAKEN_OVER, EventKind.START_OVER, EventKind.FELL_APART}
    | {EventKind.TRANSCRIBED, EventKind.SPLIT, EventKind.DONE, EventKind.SUSPECT, EventKind.DUPLICATE}
    | {EventKind.RETRY, EventKind.DEFERRED, EventKind.RELEASED, EventKind.LOST}
)
FINAL = frozenset(EventKind(state) for state in JobState if state.is_final)
ENDS_ALL = FINAL | {EventKind.PREPARE_AGAIN, EventKind.ANOTHER_MODEL}
REVIVES = frozenset(BEGINS) | {
    *(EventKind.RETRIED, EventKind.RERUN, EventKind.RENAMED, EventKind.SPEAKERS, EventKind.REVISED)
}
# They happen to a job that is over, and leave it so.
ASIDE = frozenset({EventKind.NOTIFIED, EventKind.NOT_NOTIFIED, EventKind.TEXT_REMOVED})

WORKING = {PREPARE: "preparing", TRANSCRIBE: "in the model", FINISH: "finishing"}
WAITING = {
    PREPARE: "waiting to be prepared",
    TRANSCRIBE: "waiting for a model",
    FINISH: "waiting to be finished",
}
FOLLOWING = "waiting for the same content"
OVER = "over, until it was taken up again"
# Parts of preparing that are measured apart; what is left is staging: copying and hashing.
STAGING = "staging"
MEASURED = {"decoding": "audio_decode", "finding speech": "speech_detection"}
STEP_OF = {JobState.QUEUED: PREPARE, JobState.TRANSCRIBING: TRANSCRIBE}  # what a job in that state waits for


@dataclass(frozen=True, slots=True)
class Attempt:
    """One worker's go at a step. Moments in seconds since the epoch; `ended` and `outcome` are None while it lasts.

    `chunk` is the chunk's number within the job, and empty for the other steps; `window` the part of the recording.
    """

    step: str
    worker: str
    began: float
    chunk: str = ""
    window: Span | None = None
    ended: float | None = None
    outcome: str | None = None
    detail: str = ""

    def seconds(self, now: float) -> float:
        """How long it took, or takes so far."""
        return (self.ended or now) - self.began

    @property
    def speed(self) -> float | None:
        """Seconds of audio transcribed per second; None while it lasts, and where nothing was transcribed."""
        took = self.seconds(self.began)
        return self.window.duration / took if self.window and self.outcome == "transcribed" and took > 0 else None


@dataclass(frozen=True, slots=True)
class PhaseTime:
    """A phase of a job, and the seconds that it took in all."""

    name: str
    seconds: float


@dataclass(frozen=True, slots=True)
class JobTimeline:
    """Every attempt in order, and where the time went."""

    attempts: tuple[Attempt, ...] = ()
    parts: tuple[PhaseTime, ...] = ()


@dataclass
class _Builder:
    """What is known of a job between two events."""

    at: float
    windows: Mapping[str, Span]
    attempts: list[Attempt] = field(default_factory=list)
    lasting: dict[str, int] = field(default_factory=dict)  # attempts without an end, by chunk or step
    spent: dict[str, float] = field(default_factory=dict)
    idle: float = 0.0  # seconds of waiting, for what is not known yet
    over: bool = False
    following: bool = False

    def until(self, moment: float) -> None:
        """Let time pass; a clock that was set back lets none."""
        passed, self.at = max(0.0, moment - self.at), max(self.at, moment)
        steps = {self.attempts[index].step for index in self.lasting.values()}
        if steps:
            self.count(WORKING[TRANSCRIBE if TRANSCRIBE in steps else steps.pop()], passed)
        elif self.over:
            self.count(OVER, passed)
        else:
            self.idle += passed

    def count(self, name: str, seconds: float) -> None:
        """Add seconds to what was spent on something."""
        if seconds:
            self.spent[name] = self.spent.get(name, 0.0) + seconds

    def waited_for(self, step: str) -> None:
        """What was waited for turned out to be this."""
        self.count(FOLLOWING if self.following else WAITING[step], self.idle)
        self.idle = 0.0

    def take_in(self, event: Event) -> None:
        """Let time pass until the event, and note which attempts it begins or ends."""
        self.until(event.at)
        if event.kind in BEGINS:
            self.begin(event, BEGINS[event.kind])
        elif event.kind in ENDS_ALL:
            self.close(self.lasting, event)
        elif event.kind in ENDS_ONE:
            self.close(self.meant(event), event)
        self.over = event.kind in FINAL or (self.over and event.kind not in REVIVES)
        self.following = event.kind == "follows" or (self.following and event.kind not in BEGINS)

    def begin(self, event: Event, step: str) -> None:
        """An attempt at a step begins."""
        chunk = event.chunk if step == TRANSCRIBE else ""
        # What still lasts ended unnoticed: a chunk is read by one worker at a time, and whole jobs only without chunks.
        self.close([chunk] if chunk else self.lasting, event, "lost")
        self.waited_for(step)
        self.lasting[chunk or step] = len(self.attempts)
        self.attempts.append(
            Attempt(
                step=step,
                worker=event.where,
                began=event.at,
                chunk=chunk,
                window=self.windows.get(chunk),
            )
        )

    def meant(self, event: Event) -> list[str]:
        """Which of the attempts an event ends, if they last."""
        if event.chunk:
            return [event.chunk]
        return [key for key, index in self.lasting.items() if self.attempts[index].step != TRANSCRIBE]

    def close(self, keys: Iterable[str], event: Event, outcome: str = "") -> None:
        """Those of these attempts that last end with the event; `outcome` where it is not the event's own kind."""
        for key in self.lasting.keys() & keys:
            index = self.lasting.pop(key)
            detail = "" if outcome else event.detail
            ended = replace(self.attempts[index], ended=event.at, outcome=outcome or event.kind, detail=detail)
            self.attempts[index] = ended


def build(
    events: Sequence[Event],
    windows: Mapping[str, Span],
    *,
    state: JobState,
    now: float,
    timings: Mapping[str, float] | None = None,
) -> JobTimeline:
    """The timeline up to `now`. `windows` are those of chunks by number, `timings` the job's, in seconds by phase."""
    if not events:
        return JobTimeline()
    builder = _Builder(events[0].at, windows)
    for event in events:
        if event.kind not in ASIDE:
            builder.take_in(event)
    if not state.is_final:
        builder.until(now)
        builder.waited_for(STEP_OF.get(state, FINISH))
    return JobTimeline(tuple(builder.attempts), tuple(_parts(builder.spent, timings or {})))


def _parts(spent: Mapping[str, float], timings: Mapping[str, float]) -> Iterator[PhaseTime]:
    """With preparing taken apart where it was measured, which is the last time that it was done."""
    measured = [PhaseTime(name, timings[phase]) for name, phase in MEASURED.items() if phase in timings]
    for name, seconds in spent.items():
        rest = seconds - sum(map(attrgetter("seconds"), measured))
        if name == WORKING[PREPARE] and measured and rest >= 0:
            yield from (PhaseTime(STAGING, rest), *measured)
        else:
            yield PhaseTime(name, seconds)
