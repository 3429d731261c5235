"""When is a file complete? Pure: observations and the time come in, names of complete files go out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from dropscribe.scheduler.scanning.scan import Observation

# Many programs create a file empty and fill it later, so an empty one gets more time. In the end it is
# complete too, so that its owner reads of a failure instead of waiting for ever.
EMPTY_PATIENCE = 10

_LOW_64_BITS = (1 << 64) - 1


class _Candidate(NamedTuple):
    seen: Observation
    since: float


class Stability:
    """Watches files stand still, within one root.

    A file is complete once two observations at least `seconds` apart, and all between them, were the same.
    `known` are files that need no reporting as they are, such as those admitted before a restart. Time is in
    seconds from any clock that only goes forward.
    """

    def __init__(self, seconds: float, known: Mapping[str, Observation] | None = None) -> None:
        self.seconds = seconds
        self._settled = {path: _packed(seen) for path, seen in (known or {}).items()}
        self._candidates: dict[str, _Candidate] = {}

    def observe(
        self,
        files: Mapping[str, Observation],
        now: float,
        *,
        took: float = 0.0,
        hidden: Callable[[str], bool] = lambda _: False,
    ) -> list[str]:
        """Take in all files of a root; return those that became complete, each once until it changes.

        The pass that saw them began at `now` and took so many seconds. Nobody knows when in between it came to a
        file, so a wait begins with the end of one pass and ends before the start of another. A file that is not
        among `files` is forgotten, unless it is `hidden` for the moment.
        """
        _keep_only(files, self._settled, hidden)
        _keep_only(files, self._candidates)
        settled = self._settled
        return [
            path
            for path, seen in files.items()
            if settled.get(path) != _packed(seen) and self._became_complete(path, seen, now, now + took)
        ]

    def forget(self, path: str) -> None:
        """Treat the file as new from now on, so that it is reported again."""
        self._settled.pop(path, None)
        self._candidates.pop(path, None)

    def settle(self, path: str, seen: Observation) -> None:
        """Take the file as it is for complete and reported."""
        self._candidates.pop(path, None)
        self._settled[path] = _packed(seen)

    def wait_again(self, files: Mapping[str, Observation], now: float) -> None:
        """Let files that were reported stand still once more, from `now` on."""
        for path, seen in files.items():
            self.forget(path)
            self._candidates[path] = _Candidate(seen, now)

    def awaits(self, path: str, seen: Observation) -> bool:
        """True for a file that stands still as it is seen, and is not complete yet."""
        candidate = self._candidates.get(path)
        return candidate is not None and candidate.seen == seen

    @contextmanager
    def forgetting_on_error(self, paths: Iterable[str]) -> Iterator[None]:
        """Files that come again with the next scans where the block fails."""
        try:
            yield
        except BaseException:
            for path in paths:
                self.forget(path)
            raise

    def knows(self, path: str, seen: Observation) -> bool:
        """True for a file that is complete as it is seen."""
        return self._settled.get(path) == _packed(seen)

    def remembers(self, path: str) -> bool:
        """True for a file that was seen before, however it is now."""
        return path in self._settled or path in self._candidates

    @property
    def pending(self) -> tuple[str, ...]:
        """Files that are not complete yet, those first seen first."""
        return tuple(self._candidates)

    def due(self, now: float) -> float | None:
        """Seconds from `now` until a pending file can become complete; None when there is none."""
        ready = [candidate.since + self._patience(candidate.seen) for candidate in self._candidates.values()]
        return max(0.0, min(ready) - now) if ready else None

    def _became_complete(self, path: str, seen: Observation, now: float, ended: float) -> bool:
        """Has the file stood still for long enough? Notes since when it does."""
        candidate = self._candidates.get(path)
        if candidate is None or candidate.seen != seen:
            self._settled.pop(path, None)
            self._candidates[path] = _Candidate(seen, ended)
            return False
        if now < candidate.since + self._patience(seen):
            return False
        del self._candidates[path]
        self._settled[path] = _packed(seen)
        return True

    def _patience(self, seen: Observation) -> float:
        """For how long a file has to stand still; an empty one is given time to be filled."""
        return self.seconds if seen.size else self.seconds * EMPTY_PATIENCE


def _packed(seen: Observation) -> int:
    """Both figures in one integer: of 100,000 settled files, this saves 7 MB. `st_mtime_ns` has 64 bits."""
    return seen.size << 64 | seen.mtime_ns & _LOW_64_BITS


def _keep_only(
    files: Mapping[str, Observation],
    remembered: dict[str, int] | dict[str, _Candidate],
    hidden: Callable[[str], bool] = lambda _: False,
) -> None:
    """Drop what vanished, and build a set only if something did."""
    if not remembered.keys() <= files.keys():
        for path in remembered.keys() - files.keys():
            if not hidden(path):
                del remembered[path]
