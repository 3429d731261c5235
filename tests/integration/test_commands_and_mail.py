"""Final states told by commands that fail, hang and flood, and by e-mail to a real server that comes and goes."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from sqlalchemy import update

from dropscribe.admin.cli.main import main
from dropscribe.admin.context import Context
from dropscribe.core import passwords
from dropscribe.core.mail_settings import Mail
from dropscribe.core.settings import Settings
from dropscribe.scheduler.duties.channel import CutShortError, DeliveryError, delay
from dropscribe.scheduler.duties.done_command import DoneCommand, run
from dropscribe.scheduler.duties.mail import MailChannel
from dropscribe.scheduler.duties.notifier import Notifier
from dropscribe.store import tables
from dropscribe.store.events import events_of
from dropscribe.store.session import Database
from tests.integration.one_worker import MakeContext, admit, carry_through
from tests.integration.test_notifications import delivery, fail, look, of
from tests.servers import free_port

SHELL = "/bin/sh"


def command(settings: Settings, database: Database, folder: str | Path, *words: str, **changes: object) -> Notifier:
    tables = {str(folder): {"on_done": list(words)}}
    return of(DoneCommand(settings.model_copy(update={"folders": tables, **changes})), database)


def test_a_command_gets_the_files_by_name_and_everything_on_its_input(
    make_context: MakeContext, recording: Path, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DROPSCRIBE_WEBHOOK_SECRET", "whsec_secret")
    context, kept = make_context(), tmp_path / "kept"
    script = f'cat > "{kept}.json"; env > "{kept}.env"; printf "%s\\n" "$@" > "{kept}.words"'
    words = (SHELL, "-c", script, "x", "{json}", "{srt}", "{state}", "{job}", "of {source}")
    sender = command(settings, context.database, recording.parent, *words)
    job = carry_through(context, admit(context, recording))
    look(sender)
    told = json.loads(kept.with_suffix(".json").read_text())
    assert (told["job"], told["state"], told["source"]) == (job.id, "done", str(recording))
    stem = recording.with_suffix("")
    said = kept.with_suffix(".words").read_text().splitlines()
    assert said == [f"{stem}.json", f"{stem}.srt", "done", job.id, f"of {recording}"]
    assert "DROPSCRIBE" not in kept.with_suffix(".env").read_text(), "no setting, and so no secret"
    assert delivery(context.database, job.id).status == "delivered"
    assert events_of(context.database, job.id)[-1].detail == "command"


def test_one_that_fails_is_tried_again_and_told_with_its_last_words(
    settings: Settings,
    make_context: MakeContext,
    recording: Path,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    context = make_context()
    words = (SHELL, "-c", "echo the disk is full >&2; exit 3")
    sender = command(settings, context.database, recording.parent, *words, on_done_tries=2)
    job = carry_through(context, admit(context, recording))
    look(sender)
    assert delivery(context.database, job.id).status == "waiting"
    look(sender)
    one = delivery(context.database, job.id)
    assert (one.status, one.tries, one.error) == ("given_up", 2, "/bin/sh ended with status 3: the disk is full")
    assert events_of(context.database, job.id)[-1].kind == "not_notified"
    monkeypatch.setenv("DROPSCRIBE_DATABASE_URL", database_url)
    assert main(["show", job.id], Context()) == 0
    assert "by command: given up, 2 tries; /bin/sh ended with status 3" in " ".join(capsys.readouterr().out.split())


def test_it_runs_only_where_there_is_a_transcript_and_its_folder_has_one(
    settings: Settings, database: Database
) -> None:
    sender = command(settings, database, "/rec", "/bin/false")
    job_id = fail(database)
    look(sender)
    with pytest.raises(ValueError, match="not enough values"):
        delivery(database, job_id)


def test_one_that_there_is_not_says_so() -> None:
    with pytest.raises(DeliveryError, match=r"cannot run /no/such: .*No such file"):
        run(["/no/such"], b"{}", 10, threading.Event())


def test_one_that_hangs_is_ended_with_all_that_it_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = tmp_path / "child"
    start = iter([0.0])  # however soon the command has begun

    def now() -> float:
        """Its time is over once it has begun."""
        return next(start, 1e9 if told.exists() and told.read_text().endswith("\n") else 0.0)

    monkeypatch.setattr("dropscribe.scheduler.duties.done_command.time", SimpleNamespace(monotonic=now))
    script = f"sleep 300 & echo begun; echo $! > {told}; wait"
    with pytest.raises(DeliveryError, match="/bin/sh was ended after 60 s: begun"):
        run([SHELL, "-c", script], b"{}", 60, threading.Event())
    assert _ends(int(told.read_text()))


def test_what_it_leaves_running_ends_with_it(tmp_path: Path) -> None:
    run([SHELL, "-c", f"sleep 300 & echo $! > {tmp_path}/child"], b"{}", 60, threading.Event())
    assert _ends(int((tmp_path / "child").read_text()))


def _ends(pid: int) -> bool:
    with suppress(ProcessLookupError):
        for _ in range(600):
            os.kill(pid, 0)
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
            time.sleep(0.05)
        return False
    return True


def test_one_that_floods_is_not_kept_in_memory_and_does_not_wait() -> None:
    script = "head -c 100000000 /dev/zero | tr '\\0' x; echo; echo the end; exit 1"
    with pytest.raises(DeliveryError) as found:
        run([SHELL, "-c", script], b"{}", 120, threading.Event())
    assert str(found.value).endswith("the end")
    assert len(str(found.value)) < 1_000


def test_one_that_reads_nothing_of_a_long_document_does_not_wait() -> None:
    run(["/bin/true"], b"x" * 1_000_000, 60, threading.Event())


def test_a_scheduler_that_stops_does_not_wait_for_it() -> None:
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    with pytest.raises(CutShortError, match="was ended because the scheduler stops"):
        run(["/bin/sleep", "300"], b"{}", 300, stop)


def test_an_end_with_the_scheduler_counts_as_no_try(
    make_context: MakeContext, recording: Path, settings: Settings
) -> None:
    context = make_context()
    sender = command(settings, context.database, recording.parent, "/bin/sleep", "300", on_done_tries=1)
    job = carry_through(context, admit(context, recording))
    sender._stop.set()
    look(sender)
    one = delivery(context.database, job.id)
    assert (one.status, one.tries) == ("waiting", 0)


def test_one_that_may_not_be_ended_is_left_and_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def denied(*_: object) -> None:
        raise PermissionError("not yours")

    monkeypatch.setattr("dropscribe.scheduler.duties.done_command.os.killpg", denied)
    run(["/bin/true"], b"{}", 60, threading.Event())
    assert "goes on, because it cannot be ended: not yours" in caplog.text


def test_a_table_that_is_wrong_gives_the_notification_up_and_names_it(settings: Settings, database: Database) -> None:
    folders = {"/other": {"on_done": ["/bin/true"]}, "/rec": {"on_done": ["/bin/cp", "{srtt}"]}}
    sender = of(DoneCommand(settings.model_copy(update={"folders": folders})), database)
    job_id = fail(database)
    with database.begin() as connection:
        connection.execute(update(tables.notifications).values(state="done"))
    look(sender)
    one = delivery(database, job_id)
    assert (one.status, "{srtt} is not known" in one.error) == ("given_up", True)


class Mailbox:
    """What a server took, after it refused so many."""

    refusal = "550 no such user"

    def __init__(self, *, refusals: int = 0) -> None:
        self.got: list[EmailMessage] = []
        self.to: list[list[str]] = []
        self._refusals = refusals

    async def handle_DATA(  # noqa: N802 (aiosmtpd's name)
        self, _server: object, _session: object, envelope: Any
    ) -> str:
        if self._refusals:
            self._refusals -= 1
            return "451 come back later"
        self.to.append(list(envelope.rcpt_tos))
        self.got.append(message_from_bytes(envelope.content, policy=policy.default))
        return "250 taken"

    async def handle_QUIT(  # noqa: N802 (aiosmtpd's name)
        self, _server: object, _session: object, _envelope: object
    ) -> str:
        return "421 busy"

    async def handle_RCPT(  # noqa: N802 (aiosmtpd's name)
        self, _server: object, _session: object, envelope: Any, address: str, _: object
    ) -> str:
        if address.startswith("nobody@"):
            return self.refusal
        envelope.rcpt_tos.append(address)
        return "250 known"


@contextmanager
def serving(mailbox: Mailbox, **options: object) -> Iterator[str]:
    server = Controller(mailbox, hostname="127.0.0.1", port=free_port(), **options)
    server.start()
    try:
        yield f"smtp://127.0.0.1:{server.port}"
    finally:
        server.stop()


def mail(settings: Settings, database: Database, server: str, **changes: object) -> Notifier:
    group = Mail.model_validate({"server": server, "to": "ops@a.example", **changes})
    return of(MailChannel(settings.having(group)), database)


def test_an_email_names_the_recording_and_holds_nothing_of_what_was_said(
    make_context: MakeContext, recording: Path, settings: Settings
) -> None:
    context, mailbox = make_context(), Mailbox()
    with serving(mailbox) as server:
        sender = mail(settings, context.database, server)
        job = carry_through(context, admit(context, recording))
        look(sender)
    (got,) = mailbox.got
    assert got["Subject"] == f"dropscribe: done: {recording.name}"
    assert (got["From"], got["To"]) == ("ops@a.example", "ops@a.example")
    body = got.get_body()
    assert body
    said = body.get_content()
    assert str(recording) in said
    assert f"dropscribe show {job.id}" in said
    (attached,) = got.iter_attachments()
    told = json.loads(attached.get_content())
    assert (told["job"], told["state"]) == (job.id, "done")
    words = json.loads(recording.with_suffix(".json").read_text())["segments"][0]["text"]
    assert words not in got.as_string()
    assert delivery(context.database, job.id).status == "delivered"


def test_a_server_that_is_away_or_refuses_for_a_while_is_tried_until_it_takes_it(
    settings: Settings, database: Database
) -> None:
    mailbox = Mailbox(refusals=1)
    away = mail(settings, database, "smtp://127.0.0.1:1")
    job_id = fail(database)
    look(away)
    assert "Connection refused" in delivery(database, job_id).error
    with serving(mailbox) as server:
        sender = mail(settings, database, server)
        look(sender)
        assert delivery(database, job_id).error == "it answered 451 come back later"
        look(sender)
    one = delivery(database, job_id)
    assert (one.status, one.tries) == ("delivered", 3)
    assert "it is not audio" in mailbox.got[0].as_string()


def test_a_mail_server_may_be_away_for_a_day() -> None:
    shortest = sum(delay(tries, chance=0.0) for tries in range(1, Mail().tries))
    assert shortest > 24 * 3600


def test_a_receiver_whom_the_server_does_not_know_is_named(settings: Settings, database: Database) -> None:
    with serving(Mailbox()) as server:
        sender = mail(settings, database, server, to="nobody@a.example", tries=1)
        job_id = fail(database)
        look(sender)
    assert delivery(database, job_id).error == "nobody@a.example: it answered 550 no such user"


def test_one_receiver_who_is_refused_is_named_and_the_others_are_told_once(
    settings: Settings, database: Database
) -> None:
    mailbox = Mailbox()
    with serving(mailbox) as server:
        sender = mail(settings, database, server, to="nobody@a.example,ops@a.example")
        job_id = fail(database)
        look(sender)
        look(sender)
    one = delivery(database, job_id)
    assert (one.status, one.error) == ("delivered", "nobody@a.example: it answered 550 no such user")
    assert mailbox.to == [["ops@a.example"]]


def test_a_secret_that_a_server_repeats_is_struck_from_what_is_stored(settings: Settings, database: Database) -> None:
    passwords.remember("h0rse-battery")
    mailbox = Mailbox()
    mailbox.refusal = "550 h0rse-battery is not known"
    with serving(mailbox) as server:
        for to, tries in (("nobody@a.example,ops@a.example", 9), ("nobody@a.example", 1)):
            sender = mail(settings, database, server, to=to, tries=tries)
            job_id = fail(database, f"{tries}.wav")
            look(sender)
            assert delivery(database, job_id).error == "nobody@a.example: it answered 550 *** is not known"


def test_a_server_that_took_it_and_then_ends_rudely_gets_it_once(settings: Settings, database: Database) -> None:
    mailbox = Mailbox()
    with serving(mailbox) as server:
        sender = mail(settings, database, server)
        job_id = fail(database)
        look(sender)
        look(sender)
    assert delivery(database, job_id).status == "delivered"
    assert len(mailbox.got) == 1


def test_folders_have_receivers_and_states_of_their_own(settings: Settings, database: Database) -> None:
    tables = {"/rec/hr": {"mail": {"to": ["hr@a.example"], "states": ["failed"]}}, "/rec/quiet": {"mail": {"to": []}}}
    mailbox = Mailbox()
    with serving(mailbox) as server:
        sender = mail(settings.model_copy(update={"folders": tables}), database, server, states="done")
        for name in ("hr/a.wav", "quiet/b.wav", "c.wav"):
            fail(database, name)
        look(sender)
    assert mailbox.to == [["hr@a.example"]]


def test_a_name_cannot_write_a_header(settings: Settings, database: Database) -> None:
    mailbox = Mailbox()
    with serving(mailbox) as server:
        sender = mail(settings, database, server)
        fail(database, "a\nBcc: all@a.example.wav")
        look(sender)
    (got,) = mailbox.got
    assert got["Bcc"] is None
    assert mailbox.to == [["ops@a.example"]]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("certificate")
    paths = (folder / "cert.pem", folder / "key.pem")
    made = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost"
    made += f" -addext subjectAltName=IP:127.0.0.1 -out {paths[0]} -keyout {paths[1]}"
    subprocess.run(made.split(), check=True, capture_output=True)
    return paths


def _context(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


def test_a_password_goes_to_a_server_whose_certificate_is_believed_and_to_no_other(
    settings: Settings, database: Database, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bytes] = []

    def judge(_server: object, _session: object, _envelope: object, _mechanism: str, data: Any) -> AuthResult:
        seen.append(data.password)
        return AuthResult(success=True)

    mailbox, options = Mailbox(), {"tls_context": _context(certificate), "authenticator": judge}
    with serving(mailbox, **options) as server:
        sender = mail(settings, database, server, user="ops", password="secret", sender="dropscribe@a.example")
        job_id = fail(database)
        look(sender)
        assert "certificate verify failed" in delivery(database, job_id).error
        assert (seen, mailbox.got) == ([], [])
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
        look(sender)
    assert delivery(database, job_id).status == "delivered"
    assert seen == [b"secret"]
    assert mailbox.got[0]["From"] == "dropscribe@a.example"


def test_a_server_elsewhere_that_offers_no_tls_gets_nothing(
    settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    mailbox = Mailbox()
    monkeypatch.setattr("dropscribe.scheduler.duties.mail._is_here", lambda _: False)
    with serving(mailbox) as server:
        sender = mail(settings, database, server)
        job_id = fail(database)
        look(sender)
    assert "STARTTLS extension not supported" in delivery(database, job_id).error
    assert mailbox.got == []
