"""The server: who may ask, what attacks get, uploads, media, events, actions, and how it is started."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import event, update
from starlette.testclient import TestClient

from dropscribe.admin.act import submit
from dropscribe.core.errors import SourceMissingError, StoreUnavailableError
from dropscribe.core.job_overrides import JobOverrides
from dropscribe.core.settings import Settings
from dropscribe.core.types import JobState, TokenRole
from dropscribe.serve import (
    event_stream,
    media,
    problems,
    request_limits,
    service,
    share_threads,
    shared_events,
    shared_outlooks,
    uploads,
)
from dropscribe.serve.callers import Caller
from dropscribe.serve.gate import Gate
from dropscribe.store import notifications, queries, tables, tokens
from dropscribe.store.session import Database
from tests.accounts import STRANGER
from tests.integration import console
from tests.integration.console import process
from tests.integration.serving import asking, duplicate, gate, listening, transcribed, watched, world
from tests.schemas import conforms

BYTES = bytes(range(256)) * 8


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """SQLite alone: what differs between databases is asked in test_server_folders."""
    return sqlite_url


@pytest.fixture
def editor(made: Gate, database: Database, inbox: Path) -> Iterator[TestClient]:
    watched(database, inbox)
    with asking(made, database, TokenRole.EDITOR) as client:
        yield client


def send(client: TestClient, folder: Path | str, name: str = "talk.wav", content: Any = BYTES, **more: str) -> Any:
    return client.post("/api/v1/recordings", params={"folder": str(folder), "name": name, **more}, content=content)


def breaking(error: Exception) -> Callable[..., None]:
    """What fails in its place."""

    def fail(*_given: object, **_more: object) -> None:
        raise error

    return fail


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


# Who may ask


def status_for(address: tuple[str, int], **headers: str) -> int:
    with closing(HTTPConnection(*address, timeout=20)) as connection:
        connection.request("GET", "/api/v1/status", headers=headers)
        return connection.getresponse().status


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be several accounts")
def test_on_this_machine_only_the_operators_own_processes_need_no_token(
    made: Gate, own: Settings, database: Database
) -> None:
    secret = tokens.create(database, "reader", TokenRole.READER)
    with listening(made, own) as address:
        assert status_for(address) == 200
        assert STRANGER.does(lambda: status_for(address)) == 401
        assert STRANGER.does(lambda: status_for(address, Authorization=f"Bearer {secret}")) == 200
        assert status_for(address, Authorization="Bearer nonsense") == 401, "a wrong token is not passed over"
        for name in ("X-Forwarded-For", "X-Forwarded-Proto", "Forwarded", "Via", "X-Real-IP"):
            assert status_for(address, **{name: "127.0.0.1"}) == 401, "a proxy asks for somebody else"
        tokens.revoke(database, "reader")
        assert STRANGER.does(lambda: status_for(address, Authorization=f"Bearer {secret}")) == 401


@pytest.mark.parametrize("said", [{"serve_trust_own_user": False}, {"serve_names": ("transcripts.example",)}])
def test_where_a_proxy_of_the_same_user_may_stand_before_it_everybody_needs_a_token(
    database: Database, own: Settings, said: dict[str, Any]
) -> None:
    with gate(database, own.model_copy(update=said)) as made, listening(made, own) as address:
        assert status_for(address) == 401, "such a proxy need not say that it is one"
        secret = tokens.create(database, "reader", TokenRole.READER)
        assert status_for(address, Authorization=f"Bearer {secret}") == 200


def test_who_is_not_known_is_told_how_to_be(made: Gate) -> None:
    answered = TestClient(made, base_url="http://localhost").get("/api/v1/status")
    assert answered.status_code == 401
    assert answered.headers["www-authenticate"] == "Bearer"
    assert answered.headers["content-type"] == "application/problem+json"
    problem = answered.json()
    assert (problem["code"], problem["status"]) == ("unknown_caller", 401)
    assert "dropscribe token create" in problem["remedy"]


@pytest.mark.parametrize(
    ("role", "statuses"),
    [(TokenRole.READER, (200, 403, 403)), (TokenRole.EDITOR, (200, 404, 403)), (TokenRole.ADMIN, (200, 404, 200))],
)
def test_each_role_may_do_more(made: Gate, database: Database, role: TokenRole, statuses: tuple[int, ...]) -> None:
    with asking(made, database, role) as client:
        asked = client.get("/api/v1/status"), client.post("/api/v1/recordings/x/retry"), client.post("/api/v1/pause")
    assert tuple(one.status_code for one in asked) == statuses


PROXY, ELSEWHERE = ("10.0.0.5", 4711), ("10.0.0.6", 4711)
BEHIND = {"serve_proxies": ("10.0.0.5/32",), "serve_names": ("transcripts.example",)}


def whoever(made: Gate, client: tuple[str, int], *users: str, **more: str) -> Callable[..., int]:
    """Asks from an address, with the names of users in a header; returns the status."""
    named = [("X-Forwarded-User", user) for user in users] + [*more.items()]
    asking = TestClient(made, base_url="http://transcripts.example", client=client)

    def ask(method: str = "GET", path: str = "/api/v1/status", **headers: str) -> int:
        return asking.request(method, path, headers=[*named, *headers.items()]).status_code

    return ask


def test_users_are_those_whom_a_trusted_proxy_names(database: Database, own: Settings) -> None:
    tokens.create(database, "alice", TokenRole.ADMIN, ["/srv/hr"])
    secret = tokens.create(database, "program", TokenRole.READER)
    with gate(database, own.model_copy(update=BEHIND)) as made:
        alice = whoever(made, PROXY, "alice")
        assert (alice(), alice(path="/api/v1/workers")) == (200, 403), "she is limited to her folders"
        assert whoever(made, ELSEWHERE, "alice")() == 401, "from there, anybody could say so"
        assert whoever(made, ("testclient", 1), "alice")() == 401
        for users in ((), ("bob",), ("",), ("alice", "alice"), ("alice", "bob")):
            assert whoever(made, PROXY, *users)() == 401, users
        assert whoever(made, PROXY, Authorization=f"Bearer {secret}")() == 200, "programs show tokens there, too"
        assert whoever(made, PROXY, "alice", Authorization="Bearer none")() == 401
        change = ("POST", "/api/v1/recordings/zzzzzzzz/retry")
        assert alice(*change) == 403, "a page of another site could ask through her browser"
        assert alice(*change, **{"Sec-Fetch-Site": "same-origin"}) == 404
        tokens.revoke(database, "alice")
        assert alice() == 401
    with gate(database, own.model_copy(update={**BEHIND, "serve_user_role": "reader"})) as made:
        assert (whoever(made, PROXY, "carol")(), whoever(made, PROXY, "")()) == (200, 401)
        assert whoever(made, PROXY, "carol")("POST", "/api/v1/pause", **{"Sec-Fetch-Site": "same-origin"}) == 403


def test_a_proxy_on_this_machine_is_not_the_operator(database: Database, own: Settings) -> None:
    with gate(database, own) as made, listening(made, own) as address:
        assert status_for(address) == 200
        assert status_for(address, **{"X-Forwarded-User": "alice"}) == 401
    local = own.model_copy(update={"serve_proxies": ("127.0.0.1/32",), "serve_user_role": "reader"})
    with gate(database, local) as made, listening(made, own) as address:
        assert status_for(address) == 401, "it asks for somebody whom it does not name"
        assert status_for(address, **{"X-Forwarded-User": "alice"}) == 200


@pytest.mark.parametrize("begun", [b"", b"GET /api/v1/status HTTP/1.1\r\nHost: "])
def test_a_connection_on_which_no_request_comes_is_closed(
    made: Gate, own: Settings, begun: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "HEAD_SECONDS", 0.05)
    with listening(made, own) as address, socket.create_connection(address, timeout=60) as connection:
        connection.sendall(begun)
        assert connection.recv(1) == b""
        monkeypatch.setattr(service, "HEAD_SECONDS", 60.0)
        assert status_for(address) == 200


def test_an_upload_that_falls_silent_ends_and_leaves_nothing(
    made: Gate, own: Settings, database: Database, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dropscribe.serve.gate.SILENT_SECONDS", 0.05)
    watched(database, inbox)
    secret = tokens.create(database, "editor", TokenRole.EDITOR)
    head = (
        f"POST /api/v1/recordings?folder={inbox}&name=talk.wav HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Bearer {secret}\r\nContent-Length: 99\r\n\r\nRIFF"
    )
    with listening(made, own) as address, socket.create_connection(address, timeout=60) as connection:
        connection.sendall(head.encode())
        while connection.recv(4096):
            pass
    assert not files(inbox) | files(own.home)


def test_a_share_that_hangs_keeps_nobody_from_the_rest(
    made: Gate, database: Database, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = world(database, inbox)
    (inbox / "hr" / "talk.wav").write_bytes(BYTES)
    secret = tokens.create(database, "reader", TokenRole.READER)
    hangs, asked = threading.Event(), threading.Semaphore(0)

    def hang(*_given: object) -> int:
        asked.release()
        hangs.wait(60)
        raise SourceMissingError("it was away")

    monkeypatch.setattr(media, "open_recording", hang)
    monkeypatch.setattr(share_threads, "PATIENCE", 0.05)
    place = f"/api/v1/recordings/{there.ours}"

    async def ask() -> None:
        transport = httpx2.ASGITransport(app=made)
        headers = {"Authorization": f"Bearer {secret}"}
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost", headers=headers) as client:
            answers = asyncio.as_completed([client.get(f"{place}/media") for _ in range(45)])
            first = [(await next(answers)).status_code for _ in range(45 - share_threads.MAX_THREADS)]
            assert {*first} == {503}, "threads of that folder are all that it may keep"
            assert (await client.get(place)).status_code == 200
            hangs.set()
            assert {(await one).status_code for one in answers} == {404}

    try:
        asyncio.run(ask())
    finally:
        hangs.set()
    assert [asked.acquire(blocking=False) for _ in range(9)] == [True] * share_threads.MAX_THREADS + [False]


def test_a_token_makes_as_many_requests_as_the_settings_say(database: Database, own: Settings) -> None:
    with (
        gate(database, own.model_copy(update={"serve_requests": 2})) as made,
        asking(made, database, TokenRole.READER) as first,
        asking(made, database, TokenRole.READER) as second,
    ):
        assert [first.get("/api/v1/status").status_code for _ in range(3)] == [200, 200, 429]
        assert second.get("/api/v1/status").status_code == 200, "each token has its own"


# Attacks


FOREIGN: tuple[dict[str, str], ...] = (
    {"Host": "evil.example"},
    {"Host": "localhost.evil.example"},
    {"Host": ""},
    {"Host": "["},
    {"Origin": "https://evil.example"},
    {"Origin": "http://localhost:81"},
    {"Origin": "null"},
    {"Origin": "http://["},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
)


def test_pages_of_other_sites_and_names_of_strangers_get_nothing(editor: TestClient) -> None:
    assert editor.get("/api/v1/status").status_code == 200
    for headers in FOREIGN:
        for answered in (editor.get("/api/v1/status", headers=headers), editor.post("/api/v1/pause", headers=headers)):
            assert answered.status_code == 403, headers
            assert answered.json()["code"] == "forbidden"


def test_a_page_of_the_server_and_an_address_may_ask(editor: TestClient) -> None:
    same = {"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}
    for headers in (same, {"Host": "127.0.0.1:8765"}, {"Host": "[::1]:8765"}):
        assert editor.get("/api/v1/status", headers=headers).status_code == 200


def test_no_browser_frames_runs_guesses_or_shares_an_answer(editor: TestClient) -> None:
    for path in ("/api/v1/status", "/nothing", "/api/v1/openapi.json"):
        headers = editor.get(path).headers
        assert headers["x-frame-options"] == "DENY"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "sandbox" in headers["content-security-policy"]
        assert "access-control-allow-origin" not in headers


def test_a_body_that_is_no_upload_is_bounded(editor: TestClient) -> None:
    answered = editor.put("/api/v1/recordings/x/speakers", content=b" " * 70_000)
    assert (answered.status_code, answered.json()["code"]) == (413, "too_large")
    assert answered.headers["content-type"] == "application/problem+json"


OUTSIDE = (
    "/etc",
    "/",
    "{inbox}/../..",
    "{inbox}/talks/..",
    "{inbox}/link",
    "{inbox}/.hidden",
    "{inbox}/none",
    "talks",
    "",
)
NO_NAMES = ("", "../a.wav", "a/b.wav", ".a.wav", "a.txt", "a.wav.part", "a\n.wav", "a\0.wav", "a" * 252 + ".wav")


def test_no_folder_leads_out_of_a_watched_one(editor: TestClient, inbox: Path) -> None:
    outside = inbox.parent / "outside"
    outside.mkdir()
    (inbox / "link").symlink_to(outside)
    (inbox / ".hidden").mkdir()
    for folder in OUTSIDE:
        assert send(editor, folder.format(inbox=inbox)).status_code in {403, 422}, folder
        assert not files(inbox) | files(outside)


def test_a_name_that_is_no_recordings_is_refused(editor: TestClient, inbox: Path) -> None:
    for name in NO_NAMES:
        assert send(editor, inbox, name).status_code == 422, name
    assert not files(inbox)


# Uploads


@pytest.mark.parametrize("how", [{"online": False}, {"host": "another"}])
def test_nothing_is_put_where_the_watched_folder_is_away(
    made: Gate, database: Database, inbox: Path, how: dict[str, Any]
) -> None:
    watched(database, inbox, **how)
    with asking(made, database, TokenRole.EDITOR) as client:
        answered = send(client, inbox)
    assert (answered.status_code, answered.json()["code"]) == (503, "folder_offline")
    assert answered.headers["retry-after"]
    assert not files(inbox)


def test_an_upload_appears_whole_and_is_a_job_at_once(editor: TestClient, inbox: Path, database: Database) -> None:
    (inbox / "talks").chmod(0o755)
    answered = send(editor, inbox / "talks", priority="high")
    assert answered.status_code == 201, answered.text
    conforms(answered.json(), "job")
    (job,) = queries.list_jobs(database)
    assert (job.id, job.source, job.priority) == (answered.json()["id"], str(inbox / "talks" / "talk.wav"), "high")
    there = inbox / "talks" / "talk.wav"
    assert there.read_bytes() == BYTES
    assert there.stat().st_mode & 0o777 == 0o644, "anyone who may look into the folder may read it"
    assert files(inbox) == {"talk.wav"}
    again = send(editor, inbox / "talks")
    assert (again.status_code, again.json()["code"]) == (409, "name_taken")
    assert there.read_bytes() == BYTES


def test_what_cannot_be_admitted_gets_no_name_and_may_be_sent_again(
    editor: TestClient, inbox: Path, own: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = inbox / "talks" / ".dropscribe.toml"
    wrong.write_text("nonsense = 1\n")
    assert send(editor, inbox / "talks").json()["code"] == "settings"
    assert files(inbox) == {wrong.name}
    wrong.unlink()
    with monkeypatch.context() as patch:
        patch.setattr(submit, "enter", breaking(StoreUnavailableError("away", remedy="")))
        assert send(editor, inbox / "talks").status_code == 503
    assert not files(inbox) | files(own.home)
    assert send(editor, inbox / "talks").status_code == 201


def test_what_took_the_name_meanwhile_is_not_taken_back(inbox: Path, tmp_path: Path) -> None:
    place = uploads.place(str(inbox), str(inbox), "talk.wav")
    with uploads.begun(tmp_path / "journal", place, 99) as sent:
        sent.write(b"ours")
        sent.put()
        (inbox / "other").write_bytes(b"theirs")
        (inbox / "other").rename(inbox / "talk.wav")
        sent.take_back()
    assert (inbox / "talk.wav").read_bytes() == b"theirs"


def test_a_name_is_made_to_last_or_taken_back(
    editor: TestClient, inbox: Path, own: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(uploads.placing, "settle", breaking(OSError(errno.EIO, "broken")))
        assert not send(editor, inbox).is_success
    assert not files(inbox) | files(own.home)
    assert send(editor, inbox).status_code == 201


def test_the_watcher_admits_an_upload_no_second_time(
    editor: TestClient, inbox: Path, watch: Any, database: Database
) -> None:
    send(editor, inbox)
    (inbox / "dropped.wav").write_bytes(BYTES)
    for now in (0.0, 100.0, 200.0):
        watch.look(now)
    assert {job.path for job in queries.list_jobs(database)} == {"talk.wav", "dropped.wav"}
    assert len(queries.list_jobs(database)) == 2


@pytest.mark.parametrize(("content", "status"), [(b"", 422), (bytes(3000), 413)])
def test_an_empty_or_too_large_upload_leaves_nothing(
    database: Database, own: Settings, inbox: Path, content: bytes, status: int
) -> None:
    watched(database, inbox)
    small = own.model_copy(update={"serve_upload_gb": 2e-6})
    with gate(database, small) as made, asking(made, database, TokenRole.EDITOR) as client:
        assert send(client, inbox, content=content).status_code == status
    assert not files(inbox)
    assert not files(own.home)


def test_an_upload_that_breaks_off_leaves_nothing(made: Gate, database: Database, inbox: Path, own: Settings) -> None:
    watched(database, inbox)
    secret = tokens.create(database, "editor", TokenRole.EDITOR)
    scope = {
        "type": "http", "method": "POST", "path": "/api/v1/recordings", "root_path": "", "scheme": "http",
        "query_string": f"folder={inbox}&name=talk.wav".encode(), "http_version": "1.1",
        "headers": [(b"host", b"localhost"), (b"authorization", f"Bearer {secret}".encode())],
    }  # fmt: skip
    messages = iter([{"type": "http.request", "body": bytes(2 << 20), "more_body": True}, {"type": "http.disconnect"}])
    seen: set[str] = set()

    async def receive() -> Any:
        seen.update(files(inbox))
        return next(messages)

    answers: list[Any] = []

    async def sent(message: Any) -> None:
        """Nobody listens any more."""
        answers.append(message)

    asyncio.run(made(scope, receive, sent))
    assert answers[0]["status"] == problems.CLIENT_IS_GONE, "it is no defect, which would be logged with a traceback"
    assert [name.startswith(uploads.HIDDEN) for name in seen] == [True]
    assert not files(inbox)
    assert not files(own.home)
    assert not queries.list_jobs(database)


def test_what_a_killed_server_left_is_removed_at_the_next_start(inbox: Path, tmp_path: Path) -> None:
    journal, place = tmp_path / "uploads", uploads.place(str(inbox), str(inbox / "talks"), "talk.wav")
    code = (
        "import os; from pathlib import Path; from dropscribe.serve import uploads\n"
        f"place = uploads.UploadPlace({place.root!r}, {place.folder!r}, {place.name!r})\n"
        f"with uploads.begun(Path({str(journal)!r}), place, 99) as sent:\n"
        "    sent.write(b'half'); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    assert len(files(inbox)) == len(files(journal)) == 1
    uploads.sweep(journal)
    assert not files(inbox)
    assert not files(journal)


def test_a_hidden_file_that_could_not_be_given_to_its_readers_is_removed(
    editor: TestClient, inbox: Path, own: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads.access, "give", breaking(OSError(errno.EIO, "broken")))
    assert not send(editor, inbox).is_success
    assert not files(inbox) | files(own.home)


def test_an_entry_stays_until_its_share_is_back(inbox: Path, tmp_path: Path) -> None:
    journal, away = tmp_path / "uploads", inbox.with_name("away")
    journal.mkdir()
    name = f"{uploads.HIDDEN}aa.part"
    (journal / name).write_text(json.dumps([str(inbox), "talks"]))
    (inbox / "talks" / name).write_bytes(b"half")
    inbox.rename(away)
    uploads.sweep(journal)
    assert files(journal) == {name}
    away.rename(inbox)
    uploads.sweep(journal)
    assert not files(inbox) | files(journal)


def test_what_another_server_has_under_way_is_not_removed(inbox: Path, tmp_path: Path) -> None:
    place = uploads.place(str(inbox), str(inbox), "talk.wav")
    with uploads.begun(tmp_path / "uploads", place, 99) as sent:
        sent.write(b"half")
        uploads.sweep(tmp_path / "uploads")
        sent.put()
    assert files(inbox) == {"talk.wav"}
    assert not files(tmp_path / "uploads")


def test_so_much_may_wait_and_no_more(database: Database, own: Settings, inbox: Path) -> None:
    watched(database, inbox)
    patient = own.model_copy(update={"serve_waiting": 1})
    with gate(database, patient) as made, asking(made, database, TokenRole.EDITOR) as client:
        assert [send(client, inbox, name).status_code for name in ("a.wav", "b.wav")] == [201, 429]
    assert files(inbox) == {"a.wav"}


# Recordings


def test_media_is_served_in_ranges_and_runs_nowhere(editor: TestClient, inbox: Path) -> None:
    (inbox / "hr").mkdir()
    job = send(editor, inbox / "hr", "page.html.wav", b"<script>alert(1)</script>").json()["id"]
    whole = editor.get(f"/api/v1/recordings/{job}/media")
    assert (whole.content[:8], whole.headers["content-type"]) == (b"<script>", "audio/wav")
    assert whole.headers["content-disposition"] == 'attachment; filename="page.html.wav"'
    assert "sandbox" in whole.headers["content-security-policy"]
    part = editor.get(f"/api/v1/recordings/{job}/media", headers={"Range": "bytes=1-6"})
    assert (part.status_code, part.content, part.headers["content-range"]) == (206, b"script", "bytes 1-6/25")
    assert editor.get(f"/api/v1/recordings/{job}/media", headers={"Range": "bytes=99-"}).status_code == 416


@pytest.mark.parametrize("becomes", ["gone", "link", "other"])
def test_media_is_that_recording_or_nothing(editor: TestClient, inbox: Path, becomes: str) -> None:
    job = send(editor, inbox).json()["id"]
    secret = inbox.parent / "secret"
    secret.write_bytes(BYTES)
    (inbox / "talk.wav").unlink()
    if becomes == "link":
        (inbox / "talk.wav").symlink_to(secret)
    if becomes == "other":
        (inbox / "talk.wav").write_bytes(b"another")
    answered = editor.get(f"/api/v1/recordings/{job}/media")
    assert (answered.status_code, answered.json()["code"]) == (404, "source_missing")


def test_a_recording_has_its_story_files_and_transcript_in_every_format(
    made: Gate, database: Database, inbox: Path
) -> None:
    there = world(database, inbox)
    with asking(made, database, TokenRole.READER) as client:
        place = f"/api/v1/recordings/{there.ours}"
        conforms(client.get(place).json(), "show")
        conforms(client.get(f"{place}/speakers").json(), "speakers")
        conforms(client.get("/api/v1/search", params={"q": "budget", "around": 1}).json(), "search")
        conforms(client.get("/api/v1/status").json(), "status")
        conforms(client.get("/api/v1/workers").json(), "workers")
        (file,) = client.get(f"{place}/files").json()["files"]
        assert file["path"] == str(inbox / "hr" / "talk.wav.txt")
        for fmt in ("txt", "srt", "vtt", "json", "tsv", "html", "md", "docx", "rttm"):
            answered = client.get(f"{place}/transcript", params={"format": fmt})
            assert answered.status_code == 200
            assert answered.headers["content-disposition"] == f'attachment; filename="{there.ours}.{fmt}"'
        assert "the budget" in client.get(f"{place}/transcript", params={"format": "srt"}).text
        assert "dropscribe_jobs" in client.get("/api/v1/metrics").text


def test_of_those_who_are_notified_only_the_host_is_told(made: Gate, database: Database, inbox: Path) -> None:
    there = world(database, inbox)
    notifications.want(database, {notifications.OF_FOLDERS})
    address = "https://hooks.example/T0/SECRET"
    with database.begin() as connection:
        own = JobOverrides(notify=address)
        connection.execute(update(tables.jobs).where(tables.jobs.c.id == there.ours).values(overrides=own))
        notifications.announce(connection, there.ours, JobState.DONE, "")
    for folders in ((), (there.our_folder,)):
        with asking(made, database, TokenRole.READER, *folders) as client:
            listed, shown = client.get("/api/v1/recordings"), client.get(f"/api/v1/recordings/{there.ours}")
        assert "SECRET" not in listed.text + shown.text
        assert shown.json()["overrides"] == {"notify": "hooks.example"}
        assert [one["url"] for one in shown.json()["notifications"]] == ["hooks.example"]


def test_what_the_store_says_goes_to_the_log_alone(
    made: Gate, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(_secret: str) -> None:
        raise StoreUnavailableError("postgresql://dropscribe@db.internal/x refuses", remedy="start db.internal")

    monkeypatch.setattr(made, "_find", away)
    headers = {"Authorization": "Bearer x"}
    answered = TestClient(made, base_url="http://localhost", headers=headers).get("/api/v1/status")
    assert (answered.status_code, answered.json()["code"]) == (503, "store_unavailable")
    assert "internal" not in answered.text
    assert "db.internal" in caplog.text


def test_lists_have_filters_and_pages(made: Gate, database: Database, inbox: Path) -> None:
    there = world(database, inbox)
    with asking(made, database, TokenRole.READER) as client:

        def ids(**asked: Any) -> tuple[list[str], str | None]:
            page = client.get("/api/v1/recordings", params=asked).json()
            for job in page["jobs"]:
                conforms(job, "job")
            return [job["id"] for job in page["jobs"]], page["next"]

        assert ids(state="duplicate") == ([there.same], None)
        assert set(ids(folder=there.our_folder)[0]) == {there.ours, there.same}
        assert ids(path=str(inbox / "hr" / "talk.wav"))[0] == [there.ours]
        found, following = [], None
        for _ in range(3):
            (one,), following = ids(limit=1, **({"before": following} if following else {}))
            found.append(one)
        assert found == ids()[0]
        assert following is None
        assert client.get("/api/v1/recordings", params={"before": "nonsense"}).status_code == 422


def test_a_name_is_found_in_whatever_case_of_any_alphabet(made: Gate, database: Database, inbox: Path) -> None:
    found = console.admit(database, "Ärzte/Жизнь.wav", str(inbox))
    console.admit(database, "Arzte.wav", str(inbox))
    with asking(made, database, TokenRole.READER) as client:
        for name in ("ärzte", "ÄRZTE/жиЗ"):
            answered = client.get("/api/v1/recordings", params={"name": name}).json()
            assert [job["id"] for job in answered["jobs"]] == [found], name


def test_the_place_in_the_queue_is_worked_out_once_for_many_requests(
    editor: TestClient, inbox: Path, made: Gate, database: Database
) -> None:
    first = send(editor, inbox, "a.wav").json()
    assert first["place"] == 1
    console.admit(database, "b.wav", str(inbox))
    places = [job["place"] for job in editor.get("/api/v1/recordings").json()["jobs"]]
    assert places == [None, 1], "what was admitted just now is not known yet"
    made.app.state.outlooks.clock = lambda: float("inf")
    places = [job["place"] for job in editor.get("/api/v1/recordings").json()["jobs"]]
    assert sorted(places) == [1, 2]


def test_jobs_are_cancelled_retried_hurried_and_run_again(editor: TestClient, inbox: Path, database: Database) -> None:
    place = f"/api/v1/recordings/{send(editor, inbox).json()['id']}"
    assert editor.put(f"{place}/priority", json={"priority": "low"}).json()["priority"] == "low"
    assert editor.post(f"{place}/rerun").json()["fate"] == "under way, left alone"
    assert editor.post(f"{place}/cancel").json()["state"] == "cancelled"
    again = editor.post(f"{place}/cancel")
    assert (again.status_code, again.json()["remedy"]) == (409, "there is nothing to cancel")
    assert editor.post(f"{place}/rerun").json()["fate"] == "tried again"
    assert editor.post(f"{place}/cancel").json()["state"] == "cancelled"
    assert editor.post(f"{place}/retry").json()["state"] == "queued"
    assert editor.post("/api/v1/recordings/zzzzzzzz/retry").json()["code"] == "job_not_found"


def test_speakers_are_named_and_merged(made: Gate, database: Database, inbox: Path) -> None:
    there = world(database, inbox)
    with asking(made, database, TokenRole.EDITOR) as client:
        place = f"/api/v1/recordings/{there.ours}/speakers"
        said = client.put(place, json={"names": {"0": "Alice"}, "merges": {"2": "Alice"}})
        assert said.status_code == 422, "nobody is called Alice yet"
        for name in ("A" * 256, "A\0"):
            assert client.put(place, json={"names": {"0": name}}).status_code == 422
        said = client.put(place, json={"names": {"0": "Alice"}, "merges": {"2": "0"}}).json()
        assert [(one["number"], one["name"]) for one in said["speakers"]] == [(0, "Alice"), (1, "")]
    assert queries.job(database, there.ours).state is JobState.FINISHING, "its files are to be written again"


def test_known_voices_are_listed_and_forgotten(made: Gate, database: Database, inbox: Path) -> None:
    world(database, inbox)
    with asking(made, database, TokenRole.ADMIN) as client:
        (voice,) = client.get("/api/v1/voices").json()["voices"]
        assert "embedding" not in voice
        assert client.delete(f"/api/v1/voices/{voice['name']}").status_code == 204
        assert client.get("/api/v1/voices").json()["voices"] == []


def test_events_go_on_where_an_earlier_stream_ended(made: Gate, database: Database, inbox: Path) -> None:
    made.app.state.stopping.set()
    world(database, inbox)
    with asking(made, database, TokenRole.READER) as client:

        def told(**headers: str) -> list[dict[str, Any]]:
            text = client.get("/api/v1/events", headers=headers).text
            return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]

        everything = told(**{"Last-Event-ID": "0"})
        assert [one["kind"] for one in everything[:2]] == ["admitted", "preparing"]
        assert told(**{"Last-Event-ID": str(everything[-3]["number"])}) == everything[-2:]
        assert told() == []


def test_a_caller_has_so_many_streams_and_those_that_ended_count_no_more(
    made: Gate, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.app.state.stopping.set()
    monkeypatch.setattr(request_limits, "MAX_AT_ONCE", {request_limits.AtOnce.STREAM: 1})
    with asking(made, database, TokenRole.READER) as client:
        assert [client.get("/api/v1/events").status_code for _ in range(2)] == [200, 200]
        caller = Caller("reader-0", TokenRole.READER)
        made.app.state.limits.enter(request_limits.AtOnce.STREAM, caller)
        refused = client.get("/api/v1/events")
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many")
        made.app.state.limits.leave(request_limits.AtOnce.STREAM, caller)
        assert client.get("/api/v1/events").status_code == 200


def test_an_open_stream_ends_when_its_token_is_revoked(
    made: Gate, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "POLL_SECONDS", 0.01)
    at_last = threading.Timer(20, made.app.state.stopping.set)
    at_last.start()
    find = made._find

    def find_once(secret: str) -> Caller | None:
        caller = find(secret)
        if caller:
            tokens.revoke(database, caller.name)
        return caller

    monkeypatch.setattr(made, "_find", find_once)
    with asking(made, database, TokenRole.READER) as client:
        assert client.get("/api/v1/events").text == event_stream.QUIET
    at_last.cancel()
    assert not made.app.state.stopping.is_set()


def test_a_stream_ends_in_order_when_the_store_is_away(
    made: Gate, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(made.app.state.happenings, "since", breaking(StoreUnavailableError("the store is away")))
    with asking(made, database, TokenRole.READER) as client:
        strict = TestClient(made, base_url="http://localhost", headers=client.headers)
        assert strict.get("/api/v1/events").text == ""


def test_a_file_name_that_is_no_text_is_told_as_the_command_line_tells_it(
    made: Gate, database: Database, inbox: Path
) -> None:
    name = os.fsdecode(b"caf\xe9.wav")
    job = console.admit(database, name, str(inbox))
    with asking(made, database, TokenRole.READER) as client:
        answered = client.get(f"/api/v1/recordings/{job}")
        assert json.loads(answered.content)["path"] == name
        assert client.get("/api/v1/recordings").status_code == 200


# How much it asks


def test_what_an_answer_takes_of_the_store_does_not_grow_with_the_jobs(
    made: Gate, database: Database, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.app.state.stopping.set()
    monkeypatch.setattr(shared_outlooks, "FRESH_SECONDS", 0.0)
    there = world(database, inbox)
    console.admit(database, "hr/waiting.wav", str(inbox))
    statements: list[str] = []
    event.listen(database.engine, "before_cursor_execute", lambda *said: statements.append(said[2]))
    looks = ["/recordings", "/recordings?state=unfinished", "/search?q=budget", "/fleet", "/api/v1/status"]
    looks += ["/api/v1/recordings", f"/api/v1/recordings/{there.ours}", "/api/v1/search?q=budget", "/api/v1/events"]

    def asked(client: TestClient) -> dict[str, int]:
        found = {}
        for look in looks:
            statements.clear()
            assert client.get(look).status_code == 200
            found[look] = len(statements)
        return found

    with (
        asking(made, database, TokenRole.READER) as everywhere,
        asking(made, database, TokenRole.READER, there.our_folder) as limited,
    ):
        clients = (everywhere, limited)
        few = [asked(client) for client in clients]
        for number in range(3):
            console.admit(database, f"hr/waiting-{number}.wav", str(inbox))
            transcribed(database, inbox, f"hr/talk-{number}.wav", f"the budget of {number}")
            duplicate(database, inbox, there.theirs, f"hr/same-{number}.wav")
        many = [asked(client) for client in clients]
    assert many == few
    assert database.engine.pool.checkedout() == 0


def test_what_happened_is_kept_no_longer_than_streams_share_it(database: Database) -> None:
    shared = shared_events.SharedEvents(database, clock=iter(range(99)).__next__)
    for after in range(20):
        shared.since(after, None)
    assert len(shared._known) <= 2


# How it is started


def test_it_is_started_by_a_command_and_ends_in_order(store: Database) -> None:
    refused = process("serve", "--host", "0.0.0.0", "--port", "0")
    assert refused.code == 2
    assert "dropscribe token create" in refused.err
    command = [sys.executable, "-m", "dropscribe", "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        host, _, port = server.stdout.readline().strip().removeprefix("http://").partition(":")
        with closing(HTTPConnection(host, int(port), timeout=20)) as connection:
            connection.request("GET", "/api/v1/events")
            with connection.getresponse() as stream:
                assert (stream.status, stream.readline()) == (200, b": nothing happened\n")
                server.send_signal(signal.SIGTERM)
                assert stream.read().endswith(b"\n"), "an open stream ends, and does not keep it"
        assert server.wait() == 0


EARLY = """
import os, signal, uvicorn
from dropscribe.core.settings_loading import load
from dropscribe.serve import service
run = uvicorn.Server.run
def early(server, sockets):
    os.kill(os.getpid(), signal.SIGTERM)
    run(server, sockets)
uvicorn.Server.run = early
raise SystemExit(service.run(load(overrides={"serve_port": 0})))
"""


def test_a_signal_that_comes_before_it_listens_ends_it_too(store: Database) -> None:
    ended = subprocess.run([sys.executable, "-c", EARLY], check=False, timeout=60, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("http://127.0.0.1:")
