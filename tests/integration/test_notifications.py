"""Final states told to real receivers, that take them, refuse them, hang, and send others elsewhere."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from datetime import datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from sqlalchemy import select, update

from dropscribe.admin.cli.main import main
from dropscribe.admin.context import Context
from dropscribe.core.job_overrides import JobOverrides
from dropscribe.core.settings import Settings
from dropscribe.core.types import JobState
from dropscribe.scheduler.duties import webhook
from dropscribe.scheduler.duties.channel import NotificationChannel
from dropscribe.scheduler.duties.notifier import Notifier, begin, channels
from dropscribe.scheduler.duties.webhook import Webhook
from dropscribe.store import commands, jobs, notifications, queries, recovery, tables
from dropscribe.store.events import events_of
from dropscribe.store.jobs import NewJob
from dropscribe.store.notifications import Delivery
from dropscribe.store.session import Database
from dropscribe.store.transitions import JobEvent
from tests.e2e.harness import wait_until
from tests.integration.one_worker import MakeContext, admit, carry_through
from tests.receiver import Receiver, receiving
from tests.unit.test_webhook import IS_GENUINE

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture
def make_receiver() -> Iterator[Callable[..., Receiver]]:
    with ExitStack() as stack:
        yield lambda *answers: stack.enter_context(receiving(*answers))


def notifier(settings: Settings, database: Database, receiver: Receiver, **changes: object) -> Notifier:
    """One that tries again at once."""
    chosen = {"webhook_url": receiver.url, "webhook_secret": SECRET} | changes
    return of(Webhook(settings.model_copy(update=chosen)), database)


def of(channel: NotificationChannel, database: Database) -> Notifier:
    """The only way of telling, which is tried again at once."""
    begin(database, [channel])
    return Notifier(database, channel, delay=lambda *_: 0.0)


def look(*notifiers: Notifier) -> None:
    """One look of each, to its end."""
    with ThreadPoolExecutor(8) as senders:
        for one in notifiers:
            one.look(senders)
        for one in notifiers:
            wait(one._under_way)


def new(database: Database, name: str = "a.wav", **overrides: str) -> str:
    recording = NewJob("/rec", name, 1, hash(name) % 10**9, "digest", "normal", overrides=JobOverrides.read(overrides))
    (job_id,) = jobs.admit(database, [recording])
    return job_id


def fail(database: Database, name: str = "a.wav", **overrides: str) -> str:
    job_id = new(database, name, **overrides)
    claim = jobs.claim_prepare(database, job_id, "cpu-1", 90)
    assert claim
    jobs.fail(database, claim, "it is not audio")
    return job_id


def delivery(database: Database, job_id: str) -> Delivery:
    (one,) = notifications.of_job(database, job_id)
    return one


def test_a_finished_recording_is_told_with_its_files_and_signed(
    make_context: MakeContext, recording: Path, settings: Settings, make_receiver: Callable[..., Receiver]
) -> None:
    context, receiver = make_context(), make_receiver()
    sender = notifier(settings, context.database, receiver)
    job = carry_through(context, admit(context, recording))
    look(sender)
    look(sender)
    ((headers, body),) = receiver.got
    assert IS_GENUINE(SECRET, headers, body)
    assert headers["content-type"] == "application/json"
    told = json.loads(body)
    assert told["id"] == headers["webhook-id"]
    assert (told["job"], told["state"], told["source"]) == (job.id, "done", str(recording))
    assert told["duration"] == pytest.approx(6, abs=0.1)
    assert {Path(file["path"]).suffix for file in told["files"]} >= {".json", ".txt", ".srt", ".vtt", ".tsv"}
    assert all(len(file["sha256"]) == 64 for file in told["files"])
    one = delivery(context.database, job.id)
    assert (one.status, one.tries, one.next_at) == ("delivered", 1, None)
    assert "notified" in [event.kind for event in events_of(context.database, job.id)]


def test_every_final_state_is_told(
    settings: Settings, database: Database, make_receiver: Callable[..., Receiver]
) -> None:
    receiver = make_receiver()
    sender = notifier(settings, database, receiver)
    fail(database, "failed.wav")
    commands.cancel(database, new(database, "cancelled.wav"))
    parked = new(database, "parked.wav")
    jobs.claim_prepare(database, parked, "gone", 90)
    recovery.expire_of(database, "gone", 1)
    look(sender)
    assert {(told["source"], told["state"]) for told in receiver.told} == {
        (f"/rec/{state}.wav", state) for state in ("failed", "cancelled", "parked")
    }
    assert "it is not audio" in {told["reason"] for told in receiver.told}


def test_a_receiver_that_fails_is_tried_again_until_it_takes_it(
    settings: Settings, database: Database, make_receiver: Callable[..., Receiver]
) -> None:
    receiver = make_receiver(500, 404, 200)
    sender = notifier(settings, database, receiver)
    job_id = fail(database)
    for tries, status in ((1, "waiting"), (2, "waiting"), (3, "delivered"), (3, "delivered")):
        look(sender)
        one = delivery(database, job_id)
        assert (one.tries, one.status) == (tries, status)
    assert len({told["id"] for told in receiver.told}) == 1, "it is the same notification"


def test_a_receiver_that_is_away_is_given_up_in_the_end_and_the_others_are_told(
    settings: Settings, database: Database, make_receiver: Callable[..., Receiver]
) -> None:
    receiver = make_receiver()
    away = notifier(settings, database, receiver, webhook_url="http://127.0.0.1:1/", webhook_tries=2)
    job_id = fail(database)
    look(away)
    look(away)
    one = delivery(database, job_id)
    assert (one.status, one.tries, one.next_at) == ("given_up", 2, None)
    assert "Connection refused" in one.error
    assert events_of(database, job_id)[-1].kind == "not_notified"
    look(away)
    assert delivery(database, job_id).tries == 2
    fail(database, "b.wav")
    look(notifier(settings, database, receiver))
    assert [told["source"] for told in receiver.told] == ["/rec/b.wav"]


def test_a_receiver_that_hangs_or_drips_is_cut_off_and_keeps_no_other_waiting(
    settings: Settings, database: Database, make_receiver: Callable[..., Receiver], monkeypatch: pytest.MonkeyPatch
) -> None:
    free = threading.Event()

    def hang(_: BaseHTTPRequestHandler) -> None:
        free.wait(60)

    def drip(handler: BaseHTTPRequestHandler) -> None:
        while not free.wait(0.02):
            handler.wfile.write(b"H")
            handler.wfile.flush()

    monkeypatch.setattr(webhook, "TIMEOUT", 0.5)
    monkeypatch.setattr(webhook, "DEADLINE", 1.0)
    receiver = make_receiver(hang, drip, 200)
    sender = notifier(settings, database, receiver)
    ids = [fail(database, f"{number}.wav") for number in range(3)]
    look(sender)
    free.set()
    states = sorted(delivery(database, job_id).status for job_id in ids)
    assert states == ["delivered", "waiting", "waiting"]
    errors = [one.error for one in (delivery(database, job_id) for job_id in ids) if one.error]
    assert all(error.startswith("no answer") for error in errors)


def test_a_folder_has_a_receiver_of_its_own_only_where_its_host_is_on_the_list(
    settings: Settings, database: Database, make_receiver: Callable[..., Receiver]
) -> None:
    general, own, stranger = make_receiver(), make_receiver(), make_receiver()
    sender = notifier(settings, database, general, webhook_hosts=(urlsplit(own.url).netloc,))
    told, refused = fail(database, "told.wav", notify=own.url), fail(database, "refused.wav", notify=stranger.url)
    fail(database, "general.wav", notify="")
    look(sender)
    assert [one["job"] for one in own.told] == [told]
    assert [one["source"] for one in general.told] == ["/rec/general.wav"]
    assert stranger.got == []
    one = delivery(database, refused)
    assert (one.status, one.tries) == ("given_up", 1)
    assert one.error == f"{urlsplit(stranger.url).netloc} is not among webhook_hosts"


def test_receivers_of_folders_need_no_general_one(
    settings: Settings, database: Database, make_receiver: Callable[..., Receiver]
) -> None:
    own = make_receiver()
    sender = notifier(settings, database, own, webhook_url="", webhook_hosts=(urlsplit(own.url).netloc,))
    assert notifications.of_job(database, fail(database)) == []
    told = fail(database, "told.wav", notify=own.url)
    look(sender)
    assert [one["job"] for one in own.told] == [told]


def test_a_redirect_is_not_followed(
    settings: Settings, database: Database, make_receiver: Callable[..., Receiver]
) -> None:
    inside = make_receiver()

    def redirect(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(307)
        handler.send_header("Location", inside.url)
        handler.end_headers()

    sender = notifier(settings, database, make_receiver(redirect))
    job_id = fail(database)
    look(sender)
    assert inside.got == []
    assert delivery(database, job_id).error == "it answered 307; redirects are not followed"


def test_a_huge_answer_is_not_read(
    settings: Settings, database: Database, make_receiver: Callable[..., Receiver]
) -> None:
    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        try:
            while True:
                handler.wfile.write(b"x" * 65536)
        except OSError:
            ended.set()

    ended = threading.Event()
    sender = notifier(settings, database, make_receiver(endless))
    job_id = fail(database)
    look(sender)
    assert delivery(database, job_id).status == "delivered"
    assert ended.wait(30), "the connection is closed"


def test_without_a_receiver_nothing_is_written_down(settings: Settings, database: Database) -> None:
    begin(database, channels(settings))
    assert notifications.of_job(database, fail(database)) == []
    notifications.want(database, {notifications.OF_ALL})
    assert len(notifications.of_job(database, fail(database, "b.wav"))) == 1
    begin(database, channels(settings))
    assert notifications.of_job(database, fail(database, "c.wav")) == []


def test_a_notification_is_written_with_the_state_or_not_at_all(database: Database) -> None:
    notifications.want(database, {notifications.OF_ALL})
    job_id = new(database)

    def crash_in_between() -> None:
        with database.begin() as connection:
            jobs.close(connection, job_id, JobEvent.FAILED, "it is not audio", where="test")
            raise RuntimeError("crash")

    with pytest.raises(RuntimeError, match="crash"):
        crash_in_between()
    assert queries.job(database, job_id).state is JobState.QUEUED
    assert notifications.of_job(database, job_id) == []


def test_two_schedulers_send_each_once_and_one_that_died_in_between_loses_nothing(
    settings: Settings, database: Database, make_receiver: Callable[..., Receiver]
) -> None:
    receiver = make_receiver()
    one, other = (notifier(settings, database, receiver) for _ in range(2))
    ids = [fail(database, f"{number}.wav") for number in range(6)]
    look(one, other)
    look(one, other)
    assert sorted(told["job"] for told in receiver.told) == sorted(ids)

    lost = fail(database, "lost.wav")
    (taken,) = notifications.take(database, notifications.WEBHOOK, 4, 60.0)  # and then it died
    look(one)
    assert len(receiver.told) == 6, "it may still be at it"
    with database.begin() as connection:
        connection.execute(update(tables.notifications).values(next_at=tables.now()))
    look(one)
    assert receiver.told[-1]["job"] == lost
    notifications.failed(database, taken, "too late", 5.0)
    assert delivery(database, lost).status == "delivered"


def test_a_job_that_ends_again_is_told_again_with_the_state_of_each_time(
    make_context: MakeContext, recording: Path, settings: Settings, make_receiver: Callable[..., Receiver]
) -> None:
    context, receiver = make_context(), make_receiver()
    sender = notifier(settings, context.database, receiver)
    job_id = admit(context, recording)
    commands.cancel(context.database, job_id)
    commands.retry(context.database, job_id)
    carry_through(context, job_id)
    look(sender)
    assert sorted(told["state"] for told in receiver.told) == ["cancelled", "done"]


def test_a_defect_of_ours_is_told_and_given_up_in_the_end(
    settings: Settings, database: Database, make_receiver: Callable[..., Receiver], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr("dropscribe.scheduler.duties.notifier.payload", broken)
    sender = notifier(settings, database, make_receiver(), webhook_tries=1)
    job_id = fail(database)
    look(sender)
    one = delivery(database, job_id)
    assert (one.status, one.error) == ("given_up", "internal error: ZeroDivisionError: a defect")


def test_show_tells_what_became_of_it(
    settings: Settings,
    database: Database,
    database_url: str,
    make_receiver: Callable[..., Receiver],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("DROPSCRIBE_DATABASE_URL", database_url)
    monkeypatch.setenv("DROPSCRIBE_HOME", str(tmp_path))
    sender = notifier(settings, database, make_receiver(503, 200))
    job_id = fail(database)
    look(sender)
    assert main(["show", job_id], Context()) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "notification failed: waiting, 1 try; again" in said
    assert "it answered 503" in said
    look(sender)
    assert main(["show", job_id, "--json"], Context()) == 0
    (told,) = json.loads(capsys.readouterr().out)["notifications"]
    assert (told["status"], told["tries"], told["state"]) == ("delivered", 2, "failed")
    assert datetime.fromisoformat(told["delivered_at"]).timestamp() <= time.time() + 60


def test_a_notifier_runs_until_it_is_told_to_stop(
    settings: Settings, database: Database, make_receiver: Callable[..., Receiver], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dropscribe.scheduler.duties.notifier.POLL_SECONDS", 0.05)
    told, stop = threading.Event(), threading.Event()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        told.set()

    sender = notifier(settings, database, make_receiver(answer))
    running = threading.Thread(target=sender.run, args=(stop,))
    running.start()
    job_id = fail(database)
    assert told.wait(60)
    stop.set()
    running.join(60)
    assert not running.is_alive()
    assert delivery(database, job_id).status == "delivered"
    Notifier(database, Webhook(settings)).run(threading.Event())  # with nobody to tell, it ends at once


def test_many_at_once_do_not_wait_for_the_next_look(
    settings: Settings, database: Database, make_receiver: Callable[..., Receiver], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dropscribe.scheduler.duties.notifier.POLL_SECONDS", 3600.0)
    receiver, stop = make_receiver(), threading.Event()
    sender = notifier(settings, database, receiver)
    ids = {fail(database, f"{number}.wav") for number in range(10)}
    running = threading.Thread(target=sender.run, args=(stop,))
    running.start()
    wait_until("all are told", lambda: {told["job"] for told in receiver.told} == ids)
    stop.set()
    running.join(60)
    assert not running.is_alive()


def test_the_rows_go_with_their_job(settings: Settings, database: Database) -> None:
    notifications.want(database, {notifications.OF_ALL})
    job_id = fail(database)
    with database.begin() as connection:
        connection.execute(tables.jobs.delete().where(tables.jobs.c.id == job_id))
    with database.read() as connection:
        assert connection.execute(select(tables.notifications)).all() == []
