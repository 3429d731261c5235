"""The pages: who gets them, how a browser signs in, what headers they have, and that nothing breaks out of them."""

from __future__ import annotations

import html
import os
import re
import socket
from functools import partial
from pathlib import Path
from urllib.parse import quote

import pytest
from sqlalchemy import insert
from starlette.testclient import TestClient

from dropscribe.core.settings import Settings
from dropscribe.core.types import TokenRole
from dropscribe.serve.gate import Gate
from dropscribe.serve.pages import recording_list
from dropscribe.serve.sessions import COOKIE, KEY, SECONDS, Sessions, key_in
from dropscribe.store import chunks, notifications, tables, tokens
from dropscribe.store.roots import RootReport, WaitingPart, report_roots
from dropscribe.store.session import Database
from dropscribe.store.tokens import Token
from tests.integration import console
from tests.integration.serving import SECRET, gate, listening, transcribed, watched, world
from tests.integration.test_server import status_for
from tests.unit.test_page import HOSTILE, Reader

ADDRESS = "http://localhost"
SAME = {"Origin": ADDRESS, "Sec-Fetch-Site": "same-origin"}
VISIT = {"Accept": "text/html,*/*", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """SQLite alone: pages ask the store nothing of their own."""
    return sqlite_url


def browser(made: Gate) -> TestClient:
    """A browser with a jar of its own for cookies."""
    headers = {"Accept": "text/html", "Sec-Fetch-Site": "same-origin"}
    return TestClient(made, base_url=ADDRESS, headers=headers, follow_redirects=False, raise_server_exceptions=False)


def signed_in(made: Gate, database: Database, role: TokenRole, *folders: str) -> TestClient:
    secret = tokens.create(database, f"{role}-page", role, folders)
    client = browser(made)
    answered = client.post("/sign-in", data={"token": secret}, headers=SAME)
    assert (answered.status_code, answered.headers["location"]) == (303, "/recordings")
    return client


# Signing in


def test_who_is_not_known_is_asked_for_a_token_and_goes_on_from_there(made: Gate, database: Database) -> None:
    client = browser(made)
    answered = client.get("/search?q=budget&around=1")
    assert answered.status_code == 303
    asked = client.get(answered.headers["location"])
    assert asked.status_code == 200
    assert 'name="next" value="/search?q=budget&amp;around=1"' in asked.text
    secret = tokens.create(database, "reader", TokenRole.READER)
    wrong = client.post("/sign-in", data={"token": "ds_wrong", "next": "/search"}, headers=SAME)
    assert wrong.status_code == 401
    assert "is not valid" in wrong.text
    assert COOKIE not in client.cookies
    right = client.post("/sign-in", data={"token": secret, "next": "/search?q=budget"}, headers=SAME)
    assert (right.status_code, right.headers["location"]) == (303, "/search?q=budget")


def test_signing_in_leads_to_no_other_site(made: Gate, database: Database) -> None:
    secret = tokens.create(database, "reader", TokenRole.READER)
    for wanted in ("//evil.example", "/\\evil.example", "https://evil.example", "/a\r\nSet-Cookie: b"):
        answered = browser(made).post("/sign-in", data={"token": secret, "next": wanted}, headers=SAME)
        assert answered.headers["location"] == "/recordings", wanted


def test_the_cookie_is_kept_from_scripts_and_from_other_sites_and_holds_no_token(
    made: Gate, database: Database
) -> None:
    secret = tokens.create(database, "reader", TokenRole.READER)
    answered = browser(made).post("/sign-in", data={"token": secret}, headers=SAME)
    said = answered.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= {part.strip() for part in said.split(";")}
    assert secret not in said
    proxied = browser(made).post("/sign-in", data={"token": secret}, headers={**SAME, "X-Forwarded-Proto": "https"})
    assert "Secure" in proxied.headers["set-cookie"]


def test_a_revoked_token_ends_its_sessions_and_one_of_the_same_name_is_another(made: Gate, database: Database) -> None:
    client = signed_in(made, database, TokenRole.READER)
    assert client.get("/recordings").status_code == 200
    tokens.revoke(database, "reader-page")
    assert client.get("/recordings").status_code == 303
    tokens.create(database, "reader-page", TokenRole.ADMIN)
    assert client.get("/recordings").status_code == 303
    assert client.get("/api/v1/status").status_code == 401


def test_who_signs_out_is_not_known_any_more(made: Gate, database: Database) -> None:
    client = signed_in(made, database, TokenRole.READER)
    assert client.post("/sign-out", headers=SAME).status_code == 303
    assert client.get("/recordings").status_code == 303


def test_a_session_ends_and_a_changed_cookie_is_nobodys(tmp_path: Path) -> None:
    moment = 1_000.0
    token = Token("reader", TokenRole.READER, (), 5.0)
    known = Sessions(partial(key_in, tmp_path), lambda _: token, lambda _: token, lambda: moment)
    cookie = known.begin("secret")
    assert cookie
    assert known.token(cookie) == token
    name, until, mark = cookie.split(".")
    for forged in (
        "",
        ".",
        "..",
        f"{name}.{int(until) + 1}.{mark}",
        f"{name}.{until}.",
        f"é.{until}.{mark}",
        f"{name}.{until}.é",
        cookie + "0",
    ):
        assert known.token(forged) is None, forged
    elsewhere = Sessions(partial(key_in, tmp_path / "other"), known.of_secret, known.of_name, known.clock)
    assert elsewhere.token(cookie) is None, "each server has a key of its own"
    again = Sessions(partial(key_in, tmp_path), known.of_secret, known.of_name, known.clock)
    assert again.token(cookie) == token, "a server that is started again knows who was there"
    moment += SECONDS
    assert known.token(cookie) is None


def test_nobody_else_can_read_the_key_of_sessions(tmp_path: Path) -> None:
    key_in(tmp_path)
    assert (tmp_path / KEY).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [KEY]


def test_the_operator_needs_no_token_for_pages_either(made: Gate, own: Settings) -> None:
    with listening(made, own) as address:
        assert status_for(address) == 200
        with TestClient(made, base_url=ADDRESS) as elsewhere:
            assert elsewhere.get("/recordings").status_code == 401, "a program gets no page that asks"


# Attacks


CHANGES = (("POST", "/api/v1/pause"), ("POST", "/api/v1/recordings/x/retry"), ("DELETE", "/api/v1/voices/x"))


def test_a_change_with_a_cookie_is_made_by_pages_of_the_server_alone(made: Gate, database: Database) -> None:
    client = signed_in(made, database, TokenRole.ADMIN)
    foreign: tuple[dict[str, str], ...] = (
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "none", "Origin": "null"},
        {"Sec-Fetch-Site": "none", "Origin": "http://localhost:81"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "https://evil.example"},
    )
    for method, path in (*CHANGES, ("POST", "/sign-out"), ("POST", "/api/v1/recordings?folder=/x&name=a.wav")):
        for headers in foreign:
            answered = client.request(method, path, headers=headers)
            assert (answered.status_code, answered.json()["code"]) == (403, "forbidden"), (method, path, headers)
    assert client.post("/api/v1/pause", headers=SAME).status_code == 200


def test_nobody_signs_a_browser_in_from_another_site(made: Gate, database: Database) -> None:
    secret = tokens.create(database, "attacker", TokenRole.READER)
    answered = browser(made).post("/sign-in", data={"token": secret}, headers={"Origin": "https://evil.example"})
    assert answered.status_code == 403
    assert "set-cookie" not in answered.headers


def test_a_link_on_another_site_leads_through_a_page_that_holds_nothing(made: Gate, database: Database) -> None:
    client = signed_in(made, database, TokenRole.READER)
    passing = client.get("/recordings", headers={**VISIT, "Sec-Fetch-Site": "cross-site"})
    assert passing.status_code == 200
    assert 'http-equiv="refresh"' in passing.text
    assert "reader-page" not in passing.text
    framed = {**VISIT, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "iframe"}
    assert client.get("/recordings", headers=framed).status_code == 403
    data = {**VISIT, "Sec-Fetch-Site": "cross-site"}
    assert client.get("/api/v1/status", headers=data).status_code == 403


PAGES = ("/recordings", "/search?q=budget", "/fleet", "/settings")


def test_pages_run_the_servers_own_scripts_and_load_nothing_from_elsewhere(made: Gate, database: Database) -> None:
    client = signed_in(made, database, TokenRole.ADMIN)
    for path in (*PAGES, "/sign-in", "/nothing"):
        answered = client.get(path)
        rules = dict(rule.split(" ", 1) for rule in answered.headers["content-security-policy"].split("; "))
        assert rules.pop("require-trusted-types-for") == "'script'"
        assert {*rules.values()} == {"'none'", "'self'"}, path
        assert answered.headers["x-frame-options"] == "DENY"
        assert answered.headers["cache-control"] == "no-store"
        page = Reader(answered.text)
        for tag, given in page.tags:
            assert tag != "style", path
            assert tag != "script" or (given.get("src") or "").startswith("/static/"), path
            assert not [name for name in given if name.startswith("on") or name == "style"], (path, tag)
            for address in filter(None, map(given.get, ("src", "href", "action"))):
                assert address[0] in "/#" and address[:2] != "//", (path, address)  # noqa: PT018


def test_an_error_is_a_page_for_a_browser_and_a_problem_for_a_program(made: Gate, database: Database) -> None:
    client = signed_in(made, database, TokenRole.READER)
    shown = client.get("/nothing")
    assert (shown.status_code, shown.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert client.get("/nothing", headers={"Accept": "*/*"}).json()["status"] == 404
    assert client.get("/api/v1/nothing").json()["status"] == 404


def test_what_pages_load_is_loaded_once(made: Gate) -> None:
    client = browser(made)
    for name in ("page.css", "page.js", "transcript.css", "icon.svg"):
        first = client.get(f"/static/{name}")
        assert first.status_code == 200
        assert client.get(f"/static/{name}", headers={"If-None-Match": first.headers["etag"]}).status_code == 304
    assert client.get("/static/..%2fpage.css").status_code == 404
    assert client.get("/static/nothing.js").status_code == 404


def test_a_page_shows_recordings_of_the_own_folders_alone(made: Gate, database: Database, tmp_path: Path) -> None:
    there = world(database, tmp_path / "root")
    give_up_telling(database, there.theirs, "the zebra is away")
    ours = signed_in(made, database, TokenRole.ADMIN, there.our_folder)
    everywhere = signed_in(made, database, TokenRole.EDITOR)
    for path in ("/recordings", f"/recordings?folder={there.root}&name=a&state=done", "/search?q=budget", "/fleet"):
        shown = ours.get(path)
        assert shown.status_code == 200, path
        assert SECRET not in shown.text.casefold(), path
        assert there.theirs not in shown.text, path
        assert SECRET in everywhere.get(path).text.casefold(), path
    assert "talk.wav" in ours.get("/recordings").text
    assert ours.get("/settings").status_code == 403


# What they show


def test_the_fleet_says_which_files_wait_for_parts(made: Gate, database: Database) -> None:
    waits = WaitingPart("<b>GX010042.MP4", "a further part", 90.0)
    report_roots(database, [RootReport("/rec", "here", "ext4", online=True, parts=[waits])])
    shown = signed_in(made, database, TokenRole.READER).get("/fleet").text
    assert "&lt;b&gt;GX010042.MP4 waits for a further part, until" in shown
    assert "1970-01-01 00:01 UTC" in shown


def give_up_telling(database: Database, job_id: str, why: str) -> None:
    """A webhook for the job that nobody took."""
    with database.begin() as connection:
        for channel, status in ((notifications.WEBHOOK, notifications.GIVEN_UP), (notifications.MAIL, "waiting")):
            row = {"job_id": job_id, "channel": channel, "state": "done", "reason": "", "at": 1.0, "error": why}
            told = {"id": f"msg_{channel}_{job_id}", "url": "https://hooks.example/T0/hidden", "status": status}
            connection.execute(insert(tables.notifications).values(**row, **told, tries=3, next_at=None))


def row_of(text: str, job_id: str) -> str:
    """What a list says of one recording, without markup."""
    row = re.search(rf'<tr role="row" id="r-{job_id}">.*?</tr>', text, re.DOTALL)
    assert row
    return " ".join(re.sub(r"<[^>]+>", " ", row[0]).split())


def test_a_row_says_how_a_recording_does(made: Gate, database: Database, tmp_path: Path) -> None:
    there = world(database, tmp_path / "root")
    half = console.admit(database, "half.wav", str(there.root))
    console.prepare(database, half, (0.0, 60.0), (60.0, 120.0))
    console.read(database, half)
    assert chunks.claim(database, f"{half}.1", "model-1", 90)
    failed = console.fail(database, "broken.wav", "it is no sound")
    waiting = console.admit(database, "next.wav", str(there.root))
    give_up_telling(database, there.ours, "it answers 410")
    shown = signed_in(made, database, TokenRole.READER).get("/recordings").text
    assert "transcribing 50 % 50 %" in row_of(shown, half)
    assert "0:02:00" in row_of(shown, half)
    assert "failed" in row_of(shown, failed)
    assert "it is no sound" in row_of(shown, failed)
    assert "waiting 1" in row_of(shown, waiting), "its place in the queue"
    assert "Speaker 1, Bob, Speaker 3" in row_of(shown, there.ours)
    assert "webhook was given up after 3 tries: it answers 410" in row_of(shown, there.ours)
    told = signed_in(made, database, TokenRole.EDITOR).get("/fleet").text
    assert "hooks.example" in told
    assert "hidden" not in told.replace('type="hidden"', ""), "the rest of an address may be a secret"


FOUND: dict[str, set[str]] = {
    "": {"a/Talk 1.wav", "a/Talk 2.wav", "b/100%.wav"},
    "name=TALK": {"a/Talk 1.wav", "a/Talk 2.wav"},
    "name=0%25": {"b/100%.wav"},
    "name=_": set(),
    "folder=/rec/b": {"b/100%.wav"},
    "state=attention": {"a/Talk 2.wav"},
    "state=unfinished&folder=/rec/a": {"a/Talk 1.wav"},
    "state=nonsense": {"a/Talk 1.wav", "a/Talk 2.wav", "b/100%.wav"},
}


def test_recordings_are_found_by_state_folder_and_name(made: Gate, database: Database) -> None:
    for path in ("a/Talk 1.wav", "b/100%.wav"):
        console.admit(database, path)
    console.fail(database, "a/Talk 2.wav")
    client = signed_in(made, database, TokenRole.READER)
    for asked, found in FOUND.items():
        shown = client.get(f"/recordings?{asked}").text
        assert set(re.findall(r'<a href="/recordings/\w+" dir="auto">(.*?)</a>', shown)) == found, asked


def test_what_does_not_fit_on_a_page_is_on_the_next(
    made: Gate, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording_list, "LISTED", 2)
    for number in range(3):
        console.admit(database, f"{number}.wav")
    client = signed_in(made, database, TokenRole.READER)
    first = client.get("/recordings?name=.wav").text
    older = re.search(r'href="([^"]+)" rel="next"', first)
    assert older
    second = client.get(html.unescape(older[1])).text
    names = [re.findall(r">(\d)\.wav</a>", page) for page in (first, second)]
    assert [len(found) for found in names] == [2, 1]
    assert sorted(names[0] + names[1]) == ["0", "1", "2"]


OWN_TAGS = {
    *"html head meta title link script body a header nav span form button main h1 h2 p section label input".split(),
    *"code select option datalist table thead tbody tr th td small time div progress dl dt dd ul li b mark".split(),
}


SIGNS = "\x1b\x9b\x01\u202e\u2066"  # which a terminal obeys, or which turn text around


def test_names_and_texts_of_strangers_are_shown_and_become_no_markup(
    made: Gate, database: Database, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    name = HOSTILE.replace("/", "\u2215")
    watched(database, root / name)
    job_id = transcribed(database, root / name, "talk.wav", HOSTILE)
    longest = f"{name}\udcff{SIGNS}.wav"
    longest = "x" * (255 - len(os.fsencode(longest))) + longest  # the most bytes that a name has
    failed = console.fail(database, longest, HOSTILE)
    give_up_telling(database, failed, HOSTILE)
    client = signed_in(made, database, TokenRole.ADMIN)
    hostile = quote(HOSTILE)
    for path in (
        "/recordings",
        f"/recordings?name={hostile}&folder={hostile}",
        "/fleet",
        "/search?q=alert",
        f"/search?q={hostile}&speaker={hostile}",
        f"/sign-in?next={hostile}",
        f"/{hostile}",
    ):
        page = Reader(client.get(path).text)
        assert {tag for tag, _ in page.tags} <= OWN_TAGS, path
        assert all((script["src"] or "").startswith("/static/") for script in page.all("script")), path
        assert not [name for _, given in page.tags for name in given if name.startswith("on")], path
        assert not set(SIGNS) & set("".join(page.text)), path
    assert "alert(1)" in "".join(Reader(client.get("/search?q=alert").text).text)
    assert job_id in client.get("/search?q=alert").text
    listed = client.get("/api/v1/recordings")
    assert longest in [one["path"] for one in listed.json()["jobs"]]
    assert listed.text.isascii()
    assert not set(SIGNS) & set(listed.text)


def test_a_hit_leads_to_its_moment(made: Gate, database: Database, tmp_path: Path) -> None:
    there = world(database, tmp_path / "root")
    client = signed_in(made, database, TokenRole.READER)
    found = client.get("/search?q=you+there").text
    assert f'href="/recordings/{there.ours}#t=3.000"' in found
    assert "<mark>you</mark> <mark>there</mark>" in found
    assert "Nothing was found" in client.get("/search?q=giraffe").text
    assert "there is no word to look for" in client.get("/search?q=%21").text
    assert "Show more" not in found
    assert "Show more" in client.get("/search?q=hello&limit=1").text


def test_a_page_offers_what_its_reader_may_do(made: Gate, database: Database, tmp_path: Path) -> None:
    there = world(database, tmp_path / "root")
    everything = {"upload", "act", "pause", "settings"}
    assert offered(signed_in(made, database, TokenRole.READER)) == set()
    assert offered(signed_in(made, database, TokenRole.EDITOR)) == {"upload", "act"}
    assert offered(signed_in(made, database, TokenRole.ADMIN)) == everything
    tokens.revoke(database, "admin-page")
    assert offered(signed_in(made, database, TokenRole.ADMIN, there.our_folder)) == {"upload", "act"}


def offered(client: TestClient) -> set[str]:
    """What pages have a place for; the settings are there where there is a link to them, and else refused."""
    recordings, fleet = client.get("/recordings").text, client.get("/fleet").text
    has = {
        "upload": 'id="files"' in recordings,
        "act": "data-act" in recordings,
        "pause": "data-switch" in fleet,
        "settings": 'href="/settings"' in fleet,
    }
    assert client.get("/settings").status_code == (200 if has["settings"] else 403)
    return {name for name, is_there in has.items() if is_there}


def test_a_folder_is_chosen_where_there_are_several_that_are_online_here(
    made: Gate, database: Database, tmp_path: Path
) -> None:
    one, other = str(tmp_path / "one"), str(tmp_path / "other")
    host = socket.gethostname()
    client = signed_in(made, database, TokenRole.EDITOR)
    assert "nothing can be added now" in client.get("/recordings").text
    report_roots(database, [RootReport(one, host, "ext4", online=True), RootReport("/away", host, "nfs", online=False)])
    report_roots(database, [RootReport("/elsewhere", "another", "ext4", online=True)])
    shown = client.get("/recordings").text
    assert f'type="hidden" id="into" value="{one}"' in shown
    report_roots(database, [RootReport(one, host, "ext4", online=True), RootReport(other, host, "ext4", online=True)])
    choice = re.search(r'<select id="into">(.*?)</select>', client.get("/recordings").text)
    assert choice
    assert re.findall(r'value="([^"]+)"', choice[1]) == [one, other]


def test_settings_are_shown_with_their_origin_and_without_secrets(
    database: Database, own: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DROPSCRIBE_STABLE_SECONDS", "77")
    secret = {"webhook_secret": "whsec_hidden", "redis_url": "redis://me:hidden@redis.example:6379/0"}
    with gate(database, own.model_copy(update={"stable_seconds": 77.0, **secret})) as made:
        shown = signed_in(made, database, TokenRole.ADMIN).get("/settings").text
    assert re.search(r"stable_seconds.*?77\.0.*?environment", shown, re.DOTALL)
    assert "redis.example" in shown
    assert "hidden" not in shown
