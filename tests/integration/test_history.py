"""What runs by itself costs the same whether a thousand recordings were ever transcribed or a million."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event, func, select, text

from bench import space
from dropscribe.core.queue import Doorbell
from dropscribe.core.retention import Retention, rules
from dropscribe.core.routing import MODEL_QUEUE
from dropscribe.core.settings import Settings
from dropscribe.core.types import ATTENTION_STATES, JobPhase, JobState
from dropscribe.scheduler.duties.reconciler import reconcile
from dropscribe.store import (
    chunks,
    ended,
    fleet,
    forget,
    jobs,
    metrics_queries,
    notifications,
    queries,
    recording_moves,
    recovery,
    roots,
    unfinished,
    written_files,
)
from dropscribe.store import tables as schema
from dropscribe.store.session import Database
from tests.integration import store_steps as steps

PAST = 3_000  # jobs that ended long ago; enough that PostgreSQL would rather read an index than all
GROWING = "jobs|chunks|events|notifications"  # tables that are filled here
A_JOB = "lpad(n::text, 8, 'z')"  # the id of the n-th copy
COPIES = {  # what differs from copy to copy
    ("jobs", "id"): A_JOB,
    ("jobs", "path"): "n || '.wav'",
    ("jobs", "path_key"): "decode(md5(n::text), 'hex')",
    ("jobs", "identity"): "decode(md5(n::text), 'hex')",
    ("jobs", "content_key"): "decode(md5(n::text), 'hex')",
    ("chunks", "id"): f"{A_JOB} || right(id, -8)",
    ("notifications", "id"): "md5(n::text)",
    **dict.fromkeys([(table, "job_id") for table in ("chunks", "events", "notifications")], A_JOB),
}


@pytest.fixture
def sqlite_store(sqlite_template: Any, tmp_path: Path) -> Iterator[Database]:
    sqlite_template.copy_to(tmp_path / "store.db")
    with closing(Database(f"sqlite:///{tmp_path}/store.db")) as database:
        yield database


@pytest.fixture
def history(postgresql_store: Any, postgresql: str) -> Iterator[Database]:
    """Jobs that ended, all but three, as the database itself copies them from one."""
    postgresql_store.renew()
    with closing(Database(postgresql)) as database:
        notifications.want(database, {notifications.OF_ALL})
        first = steps.admit(database, "first.wav")
        for chunk in steps.prepare(database, first):
            steps.read(database, chunk)
        steps.finish(database, first)
        with database.begin() as connection:
            _multiply(connection, first)
            connection.execute(text("UPDATE notifications SET status = 'delivered', next_at = NULL"))
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("ANALYZE"))
        yield database


def _multiply(connection: Connection, job_id: str) -> None:
    for table, own in (("jobs", "id"), ("chunks", "job_id"), ("events", "job_id"), ("notifications", "job_id")):
        columns = [column.name for column in schema.metadata.tables[table].columns if column.autoincrement is not True]
        values = [COPIES.get((table, name), f'"{name}"') for name in columns]
        names = ", ".join(f'"{name}"' for name in columns)
        copied = f"SELECT {', '.join(values)} FROM {table}, generate_series(1, {PAST}) AS n WHERE {own} = :job"
        connection.execute(text(f"INSERT INTO {table} ({names}) {copied}"), {"job": job_id})


def statements_of(database: Database, act: Callable[[], object]) -> dict[str, Any]:
    """Every statement that an act sends, with its parameters."""
    sent: dict[str, Any] = {}

    def note(_c: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        sent.setdefault(statement, parameters)

    event.listen(database.engine, "before_cursor_execute", note)
    try:
        act()
    finally:
        event.remove(database.engine, "before_cursor_execute", note)
    return {
        statement: given for statement, given in sent.items() if re.match(r"(SELECT|UPDATE|DELETE|WITH)", statement)
    }


def scans(database: Database, act: Callable[[], object]) -> list[str]:
    """The statements of an act for which PostgreSQL would read a whole table that grows with history."""
    found = []
    for statement, given in statements_of(database, act).items():
        with database.engine.connect() as connection:
            plan = "\n".join(connection.exec_driver_sql(f"EXPLAIN {statement}", given).scalars())
        if re.search(rf"Seq Scan on ({GROWING})\b", plan):
            found.append(f"{statement}\n{plan}")
    return found


def test_no_statement_that_runs_by_itself_reads_all_that_ever_was(history: Database, doorbell: Doorbell) -> None:
    settings = Settings()
    waiting = steps.admit(history, "waiting.wav")
    job = steps.admit(history, "now.wav")
    (chunk,) = steps.prepare(history, job)
    steps.admit(history, "later.wav")
    acts: dict[str, Callable[[], object]] = {
        "the reconciler": lambda: reconcile(history, doorbell, settings, "s"),
        "the clock": lambda: recovery.clamp_future_moments(history, lease=60, delay=300),
        "lost work": lambda: recovery.expire(history, 3),
        "a claim to prepare": lambda: jobs.claim_prepare(history, waiting, "cpu", 60),
        "a claim and a commit": lambda: steps.read(history, chunk),
        "the end of a job": lambda: steps.finish(history, job),
        "a worker's stop": lambda: recovery.release_all(history, "cpu"),
        "status": lambda: queries.count_by_state(history),
        "the backlog": lambda: (queries.backlog(history), queries.deferred(history), queries.unfinished(history)),
        "the queue": lambda: (unfinished.unfinished(history), unfinished.unfinished(history, limit=9)),
        "the list of what waits": lambda: queries.list_jobs(history, phases=[JobPhase.WAITING], limit=5),
        "the files of a page": lambda: written_files.written_of(history, [job, waiting]),
        "the latest troubles": lambda: queries.last_troubles(history, 5),
        "what ended since": lambda: queries.ended_since(history, 4e9),
        "workers": lambda: fleet.list_workers(history),
        "folders": lambda: roots.list_roots(history),
        "what is kept no longer": lambda: [
            forget.due(history, rule, 0.0, history.clock() - 86_400, 20)
            for rule in rules(Retention(text="1d", history="1d", requests="1d"), {"/root/x": {"retention": {}}})
        ],
        "a folder's known files": lambda: jobs.known(history, "/another"),
        "a folder's page": lambda: (
            queries.latest_of_each_file(history, "/root", [JobState.DONE], 5),
            queries.latest_of_each_file(history, "/root", [JobState.QUEUED], 5),
            queries.count_by_state_in_root(history, "/root", ATTENTION_STATES),
        ),
        "what is first in line": lambda: (
            jobs.first_to_prepare(history, 8),
            chunks.first_to_transcribe(history, [MODEL_QUEUE], 8),
        ),
        "an admission": lambda: steps.admit(history, "new.wav"),
        "a heartbeat": lambda: fleet.heartbeat(history, "m"),
        "metrics": lambda: metrics_queries.figures(history, 60),
        "news for metrics": lambda: metrics_queries.happened(history, 10**9, 10**9 + 1),
        "notifications": lambda: notifications.take(history, notifications.WEBHOOK, 10, 60),
        "an id's beginning": lambda: queries.find(history, job[:4], "/nowhere"),
        "a recording by its path": lambda: queries.find(history, "x", "/root/now.wav"),
        "the jobs of a folder": lambda: queries.list_jobs(history, folder="/another", limit=5),
    }
    assert scans(history, lambda: _sum_of_sizes(history)), "nothing would be noticed"
    assert {name: found for name, act in acts.items() if (found := scans(history, act))} == {}
    assert _folded(history) == {JobState.DONE: PAST + 2}


@pytest.mark.parametrize(
    ("act", "index"),
    [
        (lambda store: jobs.first_to_prepare(store, 8), "ix_jobs_turn (state=?)"),
        (lambda store: recording_moves.left(store, ["/root"]), "ix_jobs_moves (moves=? AND root=? AND state=?)"),
        (lambda store: recording_moves.due(store, "/root"), "ix_jobs_moves (moves=? AND root=? AND state=?)"),
        (queries.deferred, "ix_jobs_"),
    ],
)
def test_sqlite_finds_what_is_left_to_do_without_what_has_ended(
    sqlite_store: Database, act: Callable[[Database], object], index: str
) -> None:
    (statement,) = statements_of(sqlite_store, lambda: act(sqlite_store)).items()
    with sqlite_store.engine.connect() as connection:
        plan = str(connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement[0]}", statement[1]).all())
    assert f"INDEX {index}" in plan


def test_sqlite_finds_the_next_window_of_a_model_without_those_that_wait_for_others(sqlite_store: Database) -> None:
    queues = ["model", "model.whisper", "model=whisper"]
    (statement,) = statements_of(sqlite_store, lambda: chunks.first_to_transcribe(sqlite_store, queues, 8)).items()
    with sqlite_store.engine.connect() as connection:
        plan = str(connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement[0]}", statement[1]).all())
    assert plan.count("SEARCH chunks USING INDEX ix_chunks_turn (queue=?)") == len(queues)
    assert "jobs" not in plan


def test_a_history_for_measurements_is_of_jobs_of_their_own(sqlite_store: Database) -> None:
    steps.admit(sqlite_store, "recording-000000.wav")
    space.multiply(sqlite_store, 5)
    found = queries.list_jobs(sqlite_store)
    assert [len({getattr(job, name) for job in found}) for name in ("id", "path", "created_at")] == [5, 5, 5]


def _sum_of_sizes(database: Database) -> None:
    with database.read() as connection:
        connection.execute(select(func.sum(schema.jobs.c.size))).scalar()


def _folded(database: Database) -> dict[JobState, int]:
    """What is counted of jobs that ended, from one row."""
    ended.fold(database, many=1)
    with database.read() as connection:
        assert connection.execute(select(func.count()).select_from(schema.ended)).scalar() == 1
    return ended.count_by_state(database)
