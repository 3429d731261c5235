"""Pure: how long it takes until each recording in the queue is transcribed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from itertools import chain, count
from operator import attrgetter, itemgetter


@dataclass(frozen=True, slots=True)
class Stream:
    """One of the chunks that a worker transcribes at once, at a `speed` in seconds of audio per second.

    It takes chunks of these `queues`. While it has one, that is of `job`, and `left` seconds of audio are to be
    transcribed.
    """

    speed: float
    queues: Collection[str]
    job: str = ""
    left: float = 0.0


@dataclass(frozen=True, slots=True)
class QueuedChunks:
    """The chunks of a job that wait: how many, and their seconds of audio together; rank 0 is the most urgent.

    Of one rank, folders take turns.
    """

    job: str
    queue: str
    chunks: int
    seconds: float
    rank: int = 0
    folder: str = ""


def seconds_left(jobs: Sequence[QueuedChunks], streams: Sequence[Stream], window: int) -> Mapping[str, float]:
    """Seconds until the last chunk of each job is transcribed; without the jobs that no stream serves.

    Plays what the fleet will do. Chunks wait in a line; of each job at most `window` wait or run, and where one ends
    the job's next chunk joins the line, behind the last of its folder. So a short recording is not kept waiting by a
    long one, nor one folder by another.

    One stream of speed 1, window 1, a long job `L` of three chunks of 60 s, and a short job `S` of 10 s after it:

        time      0    60   70   130   190
        line      L S  S L  L    L
        stream    L    S    L    L
        ends           S 70            L 190

    >>> jobs = [QueuedChunks("L", "model", 3, 180.0), QueuedChunks("S", "model", 1, 10.0)]
    >>> seconds_left(jobs, [Stream(1.0, ["model"])], window=1) == {"S": 70.0, "L": 190.0}
    True
    """
    line = _Line.of(jobs, window, Counter(map(attrgetter("job"), streams)))
    free = [(one.left / one.speed, number, one.job) for number, one in enumerate(streams)]
    heapify(free)
    ends: dict[str, float] = {}
    while free:
        moment, number, job = heappop(free)
        if job:
            ends[job] = moment
            line.admit(job)
        if following := line.take(streams[number].queues):
            took = following.seconds / following.chunks / streams[number].speed
            heappush(free, (moment + took, number, following.job))
    waiting = map(itemgetter(3), chain(*line.lines.values()))
    return {job: ends[job] for job in ends.keys() - {*waiting, *line.left.elements()}}


@dataclass
class _Line:
    """Chunks in the order in which streams take them, by queue: by rank, and then by turns, as `store.waiting_line`.

    A chunk's turn is that of the last that was taken, or of the last of its folder, and its seconds.
    """

    jobs: Mapping[str, QueuedChunks]
    left: Counter[str]  # chunks of each job that are not in the line yet
    lines: dict[str, list[tuple[int, float, int, str]]] = field(default_factory=dict)
    taken: dict[tuple[str, int], float] = field(default_factory=dict)
    joined: dict[tuple[str, int, str], float] = field(default_factory=dict)
    number: count[int] = field(default_factory=count)

    @classmethod
    def of(cls, jobs: Sequence[QueuedChunks], window: int, running: Mapping[str, int]) -> _Line:
        """The line at the start: of each job, as many chunks wait as its window leaves beside those that run."""
        made = cls({job.job: job for job in jobs}, Counter({job.job: job.chunks for job in jobs}))
        for job in jobs:
            for _ in range(window - running.get(job.job, 0)):
                made.admit(job.job)
        return made

    def admit(self, job: str) -> None:
        """Let the next chunk of the job join its line, if there is one."""
        if self.left[job]:
            self.left[job] -= 1
            of_job = self.jobs[job]
            line, folder = (of_job.queue, of_job.rank), (of_job.queue, of_job.rank, of_job.folder)
            before = max(self.taken.get(line, 0.0), self.joined.get(folder, 0.0))
            self.joined[folder] = turn = before + of_job.seconds / of_job.chunks
            heappush(self.lines.setdefault(of_job.queue, []), (of_job.rank, turn, next(self.number), job))

    def take(self, queues: Collection[str]) -> QueuedChunks | None:
        """The job of the chunk whose turn it is in one of the queues; None if none waits."""
        heads = [(line[0], queue) for queue, line in self.lines.items() if line and queue in queues]
        if not heads:
            return None
        (rank, turn, _, job), queue = min(heads)
        heappop(self.lines[queue])
        self.taken[queue, rank] = max(turn, self.taken.get((queue, rank), 0.0))
        return self.jobs[job]
