"""What Redis's refusals mean in words. Redis begins each with a code, and redis-py keeps some of them apart."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a Redis that answers takes no work, and what to do; `code` is the first word of its answer."""

    code: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        """As part of a sentence whose subject is the Redis."""
        return f"{self.problem} ({self.code})"


# https://redis.io/docs/latest/develop/reference/protocol-spec/#simple-errors: the first word is the kind of error.
REFUSALS = {
    refusal.code: refusal
    for refusal in (
        Refusal(
            "READONLY", "is a replica, which accepts no writes", "name the master, or make it one: REPLICAOF NO ONE"
        ),
        Refusal("MASTERDOWN", "is a replica, and its master is unreachable", "start the master, or name another Redis"),
        Refusal("MISCONF", "accepts no writes, because it cannot save to its disk", "make room there; see Redis's log"),
        Refusal(
            "OOM",
            "accepts no writes, because its memory is full",
            "raise its maxmemory, or run it on a separate machine",
        ),
        Refusal("LOADING", "is still reading its data", "wait; it goes on by itself"),
        Refusal("NOPERM", "does not let this user do it", "see deploy/redis-users.acl.example for what is needed"),
    )
}


def refusal(error: BaseException | None) -> Refusal | None:
    """What an error of redis-py, or one that it caused, means; None if the refusal is not known."""
    while error is not None:
        code = getattr(error, "status_code", None) or str(error).partition(" ")[0]
        if code in REFUSALS:
            return REFUSALS[code]
        error = error.__cause__
    return None
