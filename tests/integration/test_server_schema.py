"""Whatever a program sends that fits the schema, the server answers as the schema says, and never with a defect."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given
from hypothesis import settings as trying
from schemathesis.checks import not_a_server_error
from schemathesis.core import NOT_SET
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.testclient import TestClient

from dropscribe.core.settings import Settings
from dropscribe.core.types import TokenRole
from dropscribe.serve.app import bare, schema
from dropscribe.store.session import open_database
from tests.integration.serving import asking, gate, world
from tests.stores import SQLiteTemplate

EXAMPLES = 6  # for each route
HELD = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
ROUTES = [found.ok() for found in schemathesis.openapi.from_dict(schema(bare())).get_all_operations()]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, sqlite_template: SQLiteTemplate) -> Iterator[TestClient]:
    """An admin without limits; nothing is behind the server but its store."""
    folder = tmp_path_factory.mktemp("server")
    sqlite_template.copy_to(folder / "dropscribe.db")
    database = open_database(f"sqlite:///{folder}/dropscribe.db")
    world(database, folder / "inbox")
    own = Settings(home=folder / "home", redis_url="unix:///nowhere/redis.sock", serve_requests=10**6)
    with gate(database, own) as made, asking(made, database, TokenRole.ADMIN) as found:
        made.app.state.stopping.set()
        yield found
    database.close()


def _part(value: Any) -> tuple[str | None, Any]:
    """A field of a form, or a file."""
    return ("a.wav", value) if isinstance(value, bytes) else (None, json.dumps(value))


def send(client: TestClient, case: Any) -> Any:
    body: dict[str, Any] = {}
    if case.media_type == "multipart/form-data" and isinstance(case.body, dict):
        body = {"files": [(name, _part(value)) for name, value in case.body.items()]}
    elif case.body is not NOT_SET:
        body = {"content": case.body} if isinstance(case.body, bytes) else {"json": case.body}
    request = client.build_request(case.method, case.formatted_path, params=case.query, headers=case.headers, **body)
    request.read()  # what a form becomes
    return client.send(request)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.label)
def test_every_route_answers_as_its_schema_says(route: Any, client: TestClient) -> None:
    @given(route.as_strategy())
    @trying(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=[*HealthCheck])
    def holds(case: Any) -> None:
        case.validate_response(send(client, case), checks=HELD)

    holds()
