"""A token that is limited to folders: every route of the schema is asked, and none tells of what lies elsewhere."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from dropscribe.core.settings import Settings
from dropscribe.core.types import JobState, TokenRole
from dropscribe.serve.gate import Gate
from dropscribe.serve.recordings import UploadQuery
from dropscribe.store import queries, switches
from dropscribe.store.session import Database
from dropscribe.store.voices import known
from tests.integration.serving import OURS, SECRET, THEIRS, World, asking, gate, world

WHOLE_FLEET = {"/api/v1/workers", "/api/v1/metrics", "/api/v1/voices", "/api/v1/voices/{name}"}
SWITCHES = {"/api/v1/pause", "/api/v1/resume"}
BODIES = {
    "/api/v1/recordings/{job}/priority": {"priority": "high"},
    "/api/v1/recordings/{job}/speakers": {"names": {"0": "Eve"}},
    "/api/v1/recordings/{job}/revisions": {"edits": [{"kind": "text", "segment": 0, "text": "corrected"}]},
    "/api/v1/voices/{name}": {"job": "zzzzzzzz", "speaker": "0"},
    "/api/v1/recordings/{job}/revisions/restore": {"back_to": 0},
}


@pytest.fixture
def made(database: Database, settings: Settings) -> Iterator[Gate]:
    with gate(database, settings) as found:
        found.app.state.stopping.set()  # so that the stream of events ends with what happened so far
        yield found


@pytest.fixture
def there(database: Database, inbox: Path) -> World:
    return world(database, inbox)


def values(there: World) -> dict[str, list[Any]]:
    """What each parameter is tried with, by its name: what asks for theirs, and nothing."""
    theirs = str(there.root / THEIRS)
    unset = {
        name: [None]
        for name in (
            *(*UploadQuery.model_fields, "state", "before", "limit", "speaker", "since", "until", "first"),
            *("replace_corrections", "encode", "task", "initial_prompt", "output", "video_file"),
        )
    }
    return unset | {
        "job": [there.ours, there.same, there.theirs],
        "name": [None, f"{SECRET}.wav"],
        "folder": [None, theirs, str(there.root), there.our_folder],
        "id": [None, there.theirs],
        "path": [None, f"{theirs}/{SECRET}.wav"],
        "q": ["budget", SECRET],
        "format": ["json", "txt"],
        "around": [5],
        "last-event-id": [0],
        "If-Match": ['"0"', '"1"'],
    }


def requests(schema: dict[str, Any], there: World) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Each operation with each combination of values: its path, its method, and the values by name."""
    tried = values(there)
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            names = [parameter["name"] for parameter in operation.get("parameters", ())]
            for chosen in product(*(tried[name] for name in names)):
                yield path, method, dict(zip(names, chosen, strict=True))


def ask(client: TestClient, path: str, method: str, given: dict[str, Any]) -> Any:
    query = {name: value for name, value in given.items() if value is not None and f"{{{name}}}" not in path}
    headers = {name: str(query.pop(name)) for name in ("last-event-id", "If-Match") if name in query}
    return client.request(method, path.format(**given), params=query, json=BODIES.get(path), headers=headers)


def test_no_route_tells_of_what_lies_elsewhere_or_changes_it(made: Gate, there: World, database: Database) -> None:
    with asking(made, database, TokenRole.ADMIN, there.our_folder) as client:
        asked = 0
        for path, method, given in requests(client.get("/api/v1/openapi.json").json(), there):
            answered = ask(client, path, method, given)
            about = f"{method} {path} {given}: {answered.status_code} {answered.text}"
            asked += 1
            assert answered.status_code < 500, about
            assert SECRET not in answered.text.lower(), about
            if given.get("job") == there.theirs:
                assert answered.status_code == 404, about
            else:
                assert there.theirs not in answered.text.replace(f'"sha256": "{there.theirs}"', ""), about
            if path in WHOLE_FLEET | SWITCHES:
                assert answered.status_code == 403, about
    assert asked > 60
    untouched = queries.job(database, there.theirs)
    assert (untouched.state, untouched.priority, untouched.speakers.names) == (JobState.DONE, "normal", {})
    assert switches.paused_since(database) is None
    assert known(database)
    assert not [*(there.root / THEIRS).iterdir()]


def test_the_same_routes_tell_it_to_a_token_without_limits(made: Gate, there: World, database: Database) -> None:
    """Or the walk above would find nothing because there is nothing."""
    with asking(made, database, TokenRole.READER) as client:
        schema = client.get("/api/v1/openapi.json").json()
        told = {
            path
            for path, method, given in requests(schema, there)
            if method == "get"
            and (answered := ask(client, path, method, given)).is_success
            and (SECRET in answered.text.lower() or there.theirs in answered.text)
        }
    assert told == {
        "/api/v1/recordings",
        "/api/v1/recordings/{job}",
        "/api/v1/recordings/{job}/files",
        "/api/v1/recordings/{job}/transcript",
        "/api/v1/recordings/{job}/speakers",
        "/api/v1/recordings/{job}/segments",
        "/api/v1/recordings/{job}/revisions",
        "/api/v1/search",
        "/api/v1/voices",
        "/api/v1/events",
    }


def test_counts_are_of_the_own_folders(made: Gate, there: World, database: Database) -> None:
    with asking(made, database, TokenRole.READER, there.our_folder) as client:
        status = client.get("/api/v1/status").json()
    assert sum(status["jobs"].values()) == 2
    assert status["folders"] == [{"path": there.our_folder, "host": socket.gethostname(), "online": True}]
    with asking(made, database, TokenRole.READER) as client:
        assert sum(client.get("/api/v1/status").json()["jobs"].values()) == 3


def test_a_folder_whose_name_only_begins_alike_is_another(made: Gate, there: World, database: Database) -> None:
    with asking(made, database, TokenRole.EDITOR, str(there.root / OURS[0])) as client:
        assert client.get("/api/v1/recordings").json()["jobs"] == []
        sent = client.post("/api/v1/recordings", params={"folder": there.our_folder, "name": "a.wav"}, content=b"x")
        assert sent.status_code == 403
