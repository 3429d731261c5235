"""Sounds in which nobody speaks go the whole way, by the real detector and the real model: nothing is invented."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import func, select

from bench import wer
from dropscribe.core.spans import covered
from dropscribe.core.types import JobState
from dropscribe.store import queries
from dropscribe.store.tables import chunks
from tests import sounds
from tests.e2e.harness import Machine
from tests.e2e.heard import MIXED, SPOKEN, Heard

MAX_WRONG = 0.06  # of the words: numbers that the model writes in digits
MAX_TOKENS = 3  # for each word, with the times and the marks of the language


def tokens(machine: Machine, name: str) -> int:
    """How many tokens the model wrote for a recording, whatever became of them."""
    query = select(func.coalesce(func.sum(chunks.c.output_tokens), 0)).where(chunks.c.job_id == machine.job(name).id)
    with machine.database.read() as connection:
        return int(connection.execute(query).scalar_one())


@pytest.mark.timeout(600)
def test_no_word_is_invented_where_nobody_speaks(heard: Heard) -> None:
    machine, played = heard.machine, heard.played
    assert heard.ran.returncode == 0, heard.ran.stdout
    assert {job.state for job in queries.list_jobs(machine.database)} == {JobState.DONE}
    for kind in sounds.KINDS:
        document = machine.transcript(f"sounds/{kind}")
        assert (document["segments"], document["reasons"], document["uncovered_speech"]) == ([], [], []), kind
        assert document["notes"] == ["no speech was found"], kind
        assert tokens(machine, f"sounds/{kind}.wav") == 0, "it costs less than speech: the model does not hear it"
    expected = " ".join((wer.REFERENCES / f"{Path(name).stem}.txt").read_text() for name in SPOKEN)
    document = machine.transcript(f"sounds/{MIXED}")
    words = [word for segment in document["segments"] for word in segment["words"]]
    wanted, told = (wer.normalize(text).split() for text in (expected, " ".join(word["text"] for word in words)))
    assert wer.errors(wanted, told) <= MAX_WRONG * len(wanted), told
    assert 0 < tokens(machine, f"sounds/{MIXED}.wav") <= MAX_TOKENS * len(wanted)
    found = queries.speech(machine.database, machine.job(f"sounds/{MIXED}.wav").id)
    assert sum(covered(music, found) for music in played) < 0.1 * sum(music.duration for music in played)
