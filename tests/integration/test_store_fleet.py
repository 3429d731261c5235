"""Workers, the roles they hold, and watched folders as schedulers report them."""

from __future__ import annotations

import threading

from sqlalchemy import update

from dropscribe.core.types import EngineInfo
from dropscribe.store import chunks, fleet, leases, queries
from dropscribe.store.fleet import Capacity, list_workers
from dropscribe.store.roots import RootReport, list_roots, report_roots
from dropscribe.store.session import Database
from dropscribe.store.tables import now, workers
from tests.integration.store_steps import ENGINE, LEASE, admit, prepare


def test_workers_are_listed_with_what_they_do(database: Database) -> None:
    fleet.register(database, "model", host="h", pid=1, role="model", state="loading")
    fleet.heartbeat(database, "model", state="ready", engine=ENGINE, audio=100.0, busy=4.0)
    (chunk_id,) = prepare(database, admit(database))
    work = chunks.claim(database, chunk_id, "model", LEASE)
    assert work
    leases.renew(database, work.claim, LEASE, progress=5.0)
    (worker,) = list_workers(database)
    assert (worker.state, worker.rtfx) == ("ready", 25.0)
    assert worker.doing == ("talk.wav 0-10 s, 50%",)
    assert queries.backlog(database).audio_seconds == 5.0
    fleet.leave(database, "model")
    assert list_workers(database) == []


def test_the_fleet_can_do_what_its_living_model_workers_can(database: Database) -> None:
    assert fleet.capacity(database, 60.0) == Capacity()
    for name, longest, slots in (("large", 1800.0, 4), ("small", 300.0, 1)):
        fleet.register(database, name, host="h", pid=1, role="model", state="loading")
        info = EngineInfo("scripted", "script", "none", slots, longest)
        fleet.heartbeat(database, name, engine=info)
    fleet.register(database, "starting", host="h", pid=1, role="model", state="loading")
    assert fleet.capacity(database, 60.0) == Capacity(workers=2, slots=5, longest_chunk=300.0)
    fleet.leave(database, "small")
    assert fleet.capacity(database, 60.0).longest_chunk == 1800.0
    assert fleet.capacity(database, -1.0) == Capacity()


def test_a_worker_that_was_killed_leaves_the_list_after_two_hours_and_comes_back_if_it_only_slept(
    database: Database,
) -> None:
    for name in ("killed", "living"):
        fleet.register(database, name, host="h", pid=1, role="cpu", state="ready")
    silent = update(workers).where(workers.c.id == "killed")
    with database.begin() as connection:
        connection.execute(silent.values(heartbeat_at=now() - 7100))
    assert [worker.id for worker in list_workers(database)] == ["killed", "living"]
    with database.begin() as connection:
        connection.execute(silent.values(heartbeat_at=now() - 7300))
    assert [worker.id for worker in list_workers(database)] == ["living"]
    fleet.heartbeat(database, "killed")
    assert [worker.id for worker in list_workers(database)] == ["killed", "living"]


def test_one_process_holds_a_role_at_a_time(database: Database) -> None:
    assert fleet.hold_role(database, "reconciler", "a", LEASE)
    assert not fleet.hold_role(database, "reconciler", "b", LEASE)
    assert fleet.hold_role(database, "reconciler", "a", -1.0)
    assert fleet.hold_role(database, "reconciler", "b", LEASE)


def test_schedulers_that_report_one_folder_at_the_same_time_do_no_harm(database: Database) -> None:
    errors: list[Exception] = []
    report = RootReport("/rec", "here", "ext4", online=True)

    def tell() -> None:
        try:
            for _ in range(30):
                report_roots(database, [report])
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=tell) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert [root.path for root in list_roots(database)] == ["/rec"]
