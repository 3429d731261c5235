"""A Redis that answers and takes no work: each of its refusals is known, and told in words."""

from __future__ import annotations

import pytest
from redis.connection import DefaultParser
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from dropscribe.core.errors import BrokerError
from dropscribe.core.redis_refusals import REFUSALS, refusal

ANSWERS = {  # as Redis 6.2 and 7.0 give them
    "READONLY": "READONLY You can't write against a read only replica.",
    "MASTERDOWN": "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "MISCONF": "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
    "OOM": "OOM command not allowed when used memory > 'maxmemory'.",
    "LOADING": "LOADING Redis is loading the dataset in memory",
    "NOPERM": "NOPERM this user has no permissions to run the 'set' command",
}


@pytest.mark.parametrize("code", REFUSALS)
def test_each_refusal_of_a_redis_is_known_by_its_first_word(code: str) -> None:
    error = DefaultParser.parse_error(ANSWERS[code])  # a class of its own for some, ResponseError for the rest
    assert refusal(error) is REFUSALS[code]
    wrapped = BrokerError("Redis at redis://host: no", remedy="wait")
    wrapped.__cause__ = error
    assert refusal(wrapped) is REFUSALS[code]
    assert code in str(REFUSALS[code])


def test_what_is_no_refusal_is_not_taken_for_one() -> None:
    assert refusal(RedisConnectionError("Error 111 connecting to host:6379. Connection refused.")) is None
    assert refusal(ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value")) is None
    assert refusal(None) is None
