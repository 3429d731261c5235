"""Admission and reconciliation with a real Redis: files become rows and messages, and what was lost comes again."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import redis
from sqlalchemy import update

from dropscribe.core import queue
from dropscribe.core.errors import UnstorableError, UsageError
from dropscribe.core.queue import Doorbell
from dropscribe.core.routing import CPU_QUEUE, FINISH, PREPARE
from dropscribe.core.settings import Settings
from dropscribe.core.settings_loading import load
from dropscribe.scheduler.duties import reconciler
from dropscribe.scheduler.scanning.scan import Observation
from dropscribe.scheduler.service import Scheduler
from dropscribe.scheduler.watching import admission, outages, root_watch
from dropscribe.scheduler.watching.file_events import FileEventWatcher
from dropscribe.scheduler.watching.folder_rules import Folders, read_folders
from dropscribe.scheduler.watching.joining import WholeRecording
from dropscribe.scheduler.watching.root_watch import RootWatch
from dropscribe.store import jobs, queries, recovery, tables
from dropscribe.store.fleet import list_workers
from dropscribe.store.jobs import NewJob
from dropscribe.store.roots import RootReport, list_roots, report_roots
from dropscribe.store.session import Database


@pytest.fixture
def client(settings: Settings) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(queue.redis_url(settings)) as made:
        yield made


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    made = tmp_path / "inbox"
    made.mkdir()
    return made


MakeWatch = Callable[..., RootWatch]


@pytest.fixture
def make_watch(database: Database, doorbell: Doorbell, settings: Settings, inbox: Path) -> Iterator[MakeWatch]:
    made: list[RootWatch] = []

    def make(path: Path = inbox) -> RootWatch:

        def admit(
            root: str, whole: Sequence[WholeRecording], gone: Collection[str], folders: Folders
        ) -> Mapping[str, UnstorableError]:
            return admission.admit(database, doorbell, folders, root, whole, gone).refused

        known = partial(jobs.known, database)
        made.append(RootWatch(path, settings, FileEventWatcher(), known, admit, frozenset()))
        return made[-1]

    yield make
    for watched in made:
        watched.close()


def bare(settings: Settings) -> Folders:
    """A root without settings of its own."""
    return read_folders(settings, Path("/root"), {})


def put(path: Path, content: bytes = b"sound") -> Path:
    path.write_bytes(content)
    return path


def test_a_file_that_stands_still_becomes_one_row_and_one_message(
    database: Database, doorbell: Doorbell, make_watch: MakeWatch, inbox: Path
) -> None:
    put(inbox / "a.wav")
    put(inbox / "notes.pdf")
    put(inbox / "a.txt")
    watched = make_watch()
    watched.look(0.0)
    assert queries.list_jobs(database) == []
    assert watched.report.pending == 1
    assert watched.next_look == pytest.approx(10.0), "it looks again when the file can be complete"
    watched.look(10.0)
    (job,) = queries.list_jobs(database)
    assert job.source == str(inbox / "a.wav")
    assert doorbell.depth(CPU_QUEUE) == 1
    watched.look(20.0)
    assert len(queries.list_jobs(database)) == 1
    assert (watched.report.online, watched.report.files, watched.report.not_media) == (True, 1, 1)


def test_a_restart_admits_nothing_twice_and_what_changed_again(
    database: Database, make_watch: MakeWatch, inbox: Path
) -> None:
    put(inbox / "a.wav")
    put(inbox / "b.wav")
    first = make_watch()
    first.look(0.0)
    first.look(10.0)
    put(inbox / "b.wav", b"another sound")
    second = make_watch()
    second.look(100.0)
    second.look(110.0)
    assert sorted(job.path for job in queries.list_jobs(database)) == ["a.wav", "b.wav", "b.wav"]


def test_a_root_that_is_a_link_is_followed_where_it_leads_by_then(
    database: Database, make_watch: MakeWatch, inbox: Path
) -> None:
    one, two, link = inbox / "one", inbox / "two", inbox / "current"
    for folder in (one, two):
        folder.mkdir()
        put(folder / "a.wav", folder.name.encode())
    link.symlink_to(one)
    watched = make_watch(one)
    watched.link = link
    watched.look(0.0)
    watched.look(10.0)
    (inbox / "next").symlink_to(two)
    (inbox / "next").rename(link)
    watched.look(20.0)
    watched.look(30.0)
    assert {job.source for job in queries.list_jobs(database)} == {str(one / "a.wav"), str(two / "a.wav")}
    assert (watched.report.online, watched.report.path, watched.place) == (True, str(two), two)
    put(two / "b.wav")
    assert watched.bell.wait(5.0), "the new folder is listened to"
    put(one / "b.wav")
    watched.look(40.0)
    watched.look(50.0)
    assert {job.source for job in queries.list_jobs(database)} >= {str(two / "b.wav")}
    assert str(one / "b.wav") not in {job.source for job in queries.list_jobs(database)}
    link.unlink()
    watched.look(60.0)
    assert (watched.report.online, watched.report.path) == (False, str(two))


def test_a_root_that_is_a_link_is_not_followed_into_another_root_nor_into_our_own_folders(
    database: Database, settings: Settings, inbox: Path
) -> None:
    one, two, link = inbox / "one", inbox / "two", inbox / "current"
    own = settings.home.resolve() / "spool"
    for folder in (one, two / "inner", own):
        folder.mkdir(parents=True, exist_ok=True)
        put(folder / "a.wav", folder.name.encode())
    link.symlink_to(one)
    service = Scheduler(settings, database, [link, two], "scheduler")
    first, second = service._watches
    moment = iter(range(0, 1000, 10))

    def switched(to: Path) -> str:
        (inbox / "next").symlink_to(to)
        (inbox / "next").rename(link)
        for _ in range(2):
            first.look(float(next(moment)))
        return first.report.reason

    assert switched(one) == ""
    for taken in (two, two / "inner", inbox):
        assert f"{link} leads to {taken} now, and its files are those of {two}" in switched(taken)
    assert f"{link} leads to {own} now, and" in switched(own)
    assert not first.report.online
    second.strays = True  # as when its link was switched too
    assert (switched(two), first.path) == ("", two)
    assert {job.source for job in queries.list_jobs(database)} == {str(one / "a.wav"), str(two / "inner" / "a.wav")}
    for watched in service._watches:
        watched.close()


def test_a_root_that_vanishes_cancels_nothing_and_comes_back(
    database: Database, make_watch: MakeWatch, inbox: Path
) -> None:
    for n in range(12):
        put(inbox / f"{n}.wav")
    watched = make_watch()
    watched.look(0.0)
    watched.look(10.0)
    away = inbox.rename(inbox.parent / "away")
    watched.look(20.0)
    assert not watched.report.online
    assert "does not exist" in watched.report.reason
    inbox.mkdir()  # an empty mount point in its place
    watched.look(30.0)
    assert "12 of 12 files are gone at once" in watched.report.reason
    shutil.rmtree(inbox)
    away.rename(inbox)
    watched.look(40.0)
    assert watched.report.online
    assert len(queries.list_jobs(database)) == 12
    assert {job.state for job in queries.list_jobs(database)} == {"queued"}


def test_files_that_stay_away_are_believed_to_be_gone_in_the_end(make_watch: MakeWatch, inbox: Path) -> None:
    for n in range(12):
        put(inbox / f"{n}.wav")
    watched = make_watch()
    watched.look(0.0)
    for path in inbox.iterdir():
        path.unlink()
    for moment in range(root_watch.VOID_SCANS):
        watched.look(10.0 + moment)
        assert not watched.report.online
    watched.look(20.0)
    assert watched.report.online


def test_a_rename_in_the_queue_moves_the_job(database: Database, make_watch: MakeWatch, inbox: Path) -> None:
    put(inbox / "old.wav")
    watched = make_watch()
    watched.look(0.0)
    watched.look(10.0)
    (job,) = queries.list_jobs(database)
    (inbox / "old.wav").rename(inbox / "new.wav")
    watched.look(20.0)
    watched.look(30.0)
    (moved,) = queries.list_jobs(database)
    assert (moved.id, moved.path) == (job.id, "new.wav")


def test_names_that_are_not_utf_8_are_admitted(database: Database, make_watch: MakeWatch, inbox: Path) -> None:
    put(inbox / os.fsdecode(b"caf\xe9.wav"))
    watched = make_watch()
    watched.look(0.0)
    watched.look(10.0)
    (job,) = queries.list_jobs(database)
    assert os.fsencode(job.source) == os.fsencode(inbox) + b"/caf\xe9.wav"


def test_a_file_is_not_lost_when_admission_fails(
    database: Database, doorbell: Doorbell, settings: Settings, inbox: Path
) -> None:
    put(inbox / "a.wav")
    refusals = [OSError("no store just now")]

    def admit(
        root: str, whole: Sequence[WholeRecording], gone: Collection[str], folders: Folders
    ) -> Mapping[str, UnstorableError]:
        if refusals:
            raise refusals.pop()
        return admission.admit(database, doorbell, folders, root, whole, gone).refused

    watched = RootWatch(inbox, settings, FileEventWatcher(), lambda root: {}, admit, frozenset())
    watched.look(0.0)
    with pytest.raises(OSError, match="no store"):
        watched.look(10.0)
    watched.look(20.0)
    watched.look(30.0)
    watched.close()
    assert len(queries.list_jobs(database)) == 1


def eventually(condition: Callable[[], object]) -> None:
    """Wait until it holds; only a failing test waits for long."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_flood_is_admitted_a_few_hundred_at_a_time_until_told_to_stop(
    database: Database, doorbell: Doorbell, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = threading.Event()
    rung: list[str] = []

    def ring(_task: str, row: str, _priority: str) -> None:
        rung.append(row)
        stop.set()

    monkeypatch.setattr(doorbell, "ring", ring)
    flood = [WholeRecording(f"{number}.wav", Observation(1, number)) for number in range(3 * admission.AT_ONCE)]
    admitted = admission.admit(database, doorbell, bare(settings), "/root", flood, stop=stop).ids
    assert len(admitted) == len(rung) == admission.AT_ONCE
    again = admission.admit(database, doorbell, bare(settings), "/root", flood).ids
    assert len(again) == 2 * admission.AT_ONCE, "the rest is admitted by the next scheduler"


def test_a_file_that_the_store_cannot_hold_keeps_out_only_itself_and_is_named(
    database: Database, doorbell: Doorbell, settings: Settings
) -> None:
    found = [WholeRecording(f"{number}.wav", Observation(1, number)) for number in range(7)]
    bad = WholeRecording("bad.wav", Observation(1, 1 << 63))
    ids, refused = admission.admit(database, doorbell, bare(settings), "/root", [*found, bad], {"gone.wav"})
    assert {job.path for job in queries.list_jobs(database)} == {one.path for one in found}
    assert len(ids) == doorbell.depth(CPU_QUEUE) == 7
    assert list(refused) == ["bad.wav"]
    assert "cannot hold it" in refused["bad.wav"].problem


def test_a_file_from_the_year_2400_is_admitted_once_and_again_when_it_changed(
    database: Database, make_watch: MakeWatch, inbox: Path
) -> None:
    years = (13_569_465_600, 13_600_000_000)
    for moment, seconds in enumerate(years):
        os.utime(put(inbox / "a.wav"), (seconds, seconds))
        assert (inbox / "a.wav").stat().st_mtime_ns == seconds * 10**9 > 1 << 63
        for _ in range(2):  # and not again after a restart
            watched = make_watch()
            watched.look(0.0)
            watched.look(10.0)
        assert len(queries.list_jobs(database)) == moment + 1


def test_a_file_that_was_refused_is_reported_until_it_changes(make_watch: MakeWatch, inbox: Path) -> None:
    refused = {"a.wav": UnstorableError("the database cannot hold it", remedy="rename it")}
    put(inbox / "a.wav")
    watched = make_watch()
    watched.admit = lambda *_: refused
    for moment in (0.0, 10.0, 20.0):
        watched.look(moment)
    assert (watched.report.unreadable_count, watched.report.unseen, watched.report.unseen_remedy) == (
        1, "a.wav: the database cannot hold it", "rename it",
    )  # fmt: skip
    (inbox / "a.wav").rename(inbox / "b.wav")
    watched.look(30.0)
    assert watched.report.unseen == ""


def test_hotwords_are_read_for_each_admission_and_stand_in_the_row(
    database: Database, doorbell: Doorbell, settings: Settings, tmp_path: Path
) -> None:
    file = put(tmp_path / "terms.txt", b"Ada Lovelace\nBabbage # both\n")
    chosen = settings.model_copy(update={"context": "a talk", "hotwords": file})
    (first,) = admission.admit(
        database, doorbell, bare(chosen), "/root", [WholeRecording("a.wav", Observation(1, 1))]
    ).ids
    put(file, b"Byron")
    (second,) = admission.admit(
        database, doorbell, bare(chosen), "/root", [WholeRecording("b.wav", Observation(1, 1))]
    ).ids
    told = [queries.job(database, job_id) for job_id in (first, second)]
    assert [job.context for job in told] == ["a talk; Ada Lovelace, Babbage", "a talk; Byron"]
    assert [job.settings_digest for job in told] == [chosen.digest(job.context) for job in told]
    assert told[0].settings_digest != told[1].settings_digest


def test_recordings_wait_for_hotwords_that_cannot_be_read(
    database: Database,
    settings: Settings,
    inbox: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(outages, "RETRY_SECONDS", 0.05)
    file = tmp_path / "terms.txt"
    chosen = settings.model_copy(update={"hotwords": file, "stable_seconds": 0.0})
    put(inbox / "a.wav")
    scheduler = Scheduler(chosen, database, [inbox], "me")
    running = threading.Thread(target=scheduler.run)
    with caplog.at_level(logging.WARNING):
        running.start()
        eventually(lambda: caplog.messages)
        assert f"cannot read the hotwords file {file}: No such file" in caplog.messages[0]
        assert "new recordings wait" in caplog.messages[0]
        assert queries.list_jobs(database) == []
        put(file, b"Ada")
        eventually(lambda: queries.list_jobs(database))
        scheduler.stop()
        running.join()
    assert [job.context for job in queries.list_jobs(database)] == ["Ada"]


def test_a_defect_in_one_watch_ends_the_scheduler_and_is_told(
    database: Database, settings: Settings, inbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()
    scheduler = Scheduler(settings, database, [inbox, tmp_path / "other"], "me")

    def look(self: RootWatch, now: float) -> None:
        raise ZeroDivisionError(self.path)

    monkeypatch.setattr(RootWatch, "look", look)
    with pytest.raises(ZeroDivisionError):
        scheduler.run()
    assert list_workers(database) == []


def test_what_was_known_of_a_watched_folder_holds_until_a_scheduler_that_starts_again_has_looked(
    database: Database, settings: Settings, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = RootReport(str(inbox), socket.gethostname(), "ext4", online=True)
    report_roots(database, [known, replace(known, path="/watched/before")])
    scheduler = Scheduler(settings, database, [inbox], "me")

    def look(self: RootWatch, now: float) -> None:
        assert [root.path for root in list_roots(database)] == [str(self.path)], (
            "so that recordings can be sent into it"
        )
        raise ZeroDivisionError

    monkeypatch.setattr(RootWatch, "look", look)
    with pytest.raises(ZeroDivisionError):
        scheduler.run()


def test_folders_that_overlap_through_a_symlink_are_refused(
    database: Database, settings: Settings, inbox: Path
) -> None:
    (inbox / "sub").mkdir()
    (inbox.parent / "link").symlink_to("inbox/sub")
    with pytest.raises(UsageError, match="lie in one another"):
        Scheduler(settings, database, [inbox, inbox.parent / "link"], "me")


def test_a_root_among_our_own_files_is_refused_at_start(database: Database, settings: Settings) -> None:
    with pytest.raises(UsageError, match="which is for dropscribe's own files"):
        Scheduler(settings, database, [settings.home / "inbox"], "me")


def admit_some(database: Database, count: int) -> list[str]:
    found = [NewJob("/root", f"{n}.wav", 1, 1, "d", "normal") for n in range(count)]
    return jobs.admit(database, found)


def let_time_pass(database: Database) -> None:
    with database.begin() as connection:
        for table in (tables.jobs, tables.chunks):
            connection.execute(update(table).values(sent_at=table.c.sent_at - 3600))


def test_messages_lost_with_redis_are_sent_again_and_no_more_than_those(
    database: Database, doorbell: Doorbell, settings: Settings, client: redis.Redis
) -> None:
    for job_id in admit_some(database, 5):
        doorbell.ring(PREPARE, job_id)
    reconciler.reconcile(database, doorbell, settings, "me")
    assert doorbell.depth(CPU_QUEUE) == 5, "young messages are not doubled"
    let_time_pass(database)
    reconciler.reconcile(database, doorbell, settings, "me")
    assert doorbell.depth(CPU_QUEUE) == 5, "a long queue is no loss"
    client.flushall()
    for _ in range(2):
        reconciler.reconcile(database, doorbell, settings, "me")
        assert doorbell.depth(CPU_QUEUE) == 5


def test_a_job_admitted_without_a_message_gets_one(database: Database, doorbell: Doorbell, settings: Settings) -> None:
    admit_some(database, 3)
    let_time_pass(database)
    reconciler.reconcile(database, doorbell, settings, "me")
    assert doorbell.depth(CPU_QUEUE) == 3


def test_work_of_a_vanished_worker_gets_a_new_message_at_once(
    database: Database, doorbell: Doorbell, settings: Settings
) -> None:
    (job_id,) = admit_some(database, 1)
    assert jobs.claim_prepare(database, job_id, "dead", -1.0)
    reconciler.reconcile(database, doorbell, settings, "me")
    assert doorbell.depth(CPU_QUEUE) == 1
    assert jobs.claim_prepare(database, job_id, "alive", 60.0)


def test_only_the_holder_of_the_role_reconciles(database: Database, doorbell: Doorbell, settings: Settings) -> None:
    assert reconciler.reconcile(database, doorbell, settings, "one")
    assert not reconciler.reconcile(database, doorbell, settings, "other")


def test_work_that_waits_for_a_lease_does_not_wait_as_long_again_for_a_dead_reconciler(
    database: Database, doorbell: Doorbell, settings: Settings
) -> None:
    quick = settings.model_copy(update={"renew_seconds": 0.1, "lease_seconds": 1000.0})
    assert reconciler.reconcile(database, doorbell, quick, "dies now")
    time.sleep(quick.silence_seconds + 0.05)
    assert reconciler.reconcile(database, doorbell, quick, "other")


def test_a_redis_out_of_reach_loses_nothing(database: Database, tmp_path: Path, settings: Settings) -> None:
    away = load({"DROPSCRIBE_HOME": str(tmp_path / "nobody listens here")})
    deaf = Doorbell(away)
    (job_id,) = admission.admit(database, deaf, bare(away), "/root", [WholeRecording("a.wav", Observation(1, 1))]).ids
    reconciler.reconcile(database, deaf, away, "me")
    deaf.close()
    let_time_pass(database)
    back = Doorbell(settings)
    reconciler.reconcile(database, back, settings, "me")
    assert back.depth(CPU_QUEUE) == 1
    back.close()
    assert queries.job(database, job_id).state == "queued"


def test_urgent_jobs_go_first_and_nearly_done_ones_before_new_ones(doorbell: Doorbell, client: redis.Redis) -> None:
    doorbell.ring(PREPARE, "low", "low")
    doorbell.ring(PREPARE, "normal", "normal")
    doorbell.ring(FINISH, "finish", "normal")
    doorbell.ring(PREPARE, "high", "high")
    assert doorbell.depth(CPU_QUEUE) == 4
    app = queue.make_app(load({"DROPSCRIBE_HOME": str(Path(client.connection_pool.connection_kwargs["path"]).parent)}))
    order = []
    with app.connection_for_read() as connection, connection.SimpleQueue(app.conf.task_queues[0]) as waiting:
        for _ in range(4):
            message = waiting.get(timeout=5)
            order.append(message.payload[0][0])
            message.ack()
    app.close()
    assert order == ["high", "finish", "normal", "low"]


def test_a_retried_chunk_is_found_by_the_reconciler(database: Database) -> None:
    (job_id,) = admit_some(database, 1)
    assert jobs.claim_prepare(database, job_id, "cpu", 60.0)
    recovery.expire_of(database, "cpu", 3)
    assert [row.id for row in recovery.unsent(database, "prepare", 15.0, 0)] == [job_id]
    with database.read() as connection:
        assert connection.execute(tables.jobs.select().where(tables.owned(tables.jobs))).first() is None
