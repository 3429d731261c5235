"""The example of a proxy in docs/api.md, in nginx: TLS, people by their passwords, uploads, and events as they come."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from dropscribe.core.settings import Settings
from dropscribe.core.types import TokenRole
from dropscribe.store import tokens
from dropscribe.store.session import Database
from tests import certificates, documents
from tests.conftest import missing
from tests.e2e.harness import wait_until
from tests.integration import console
from tests.integration.serving import OURS, THEIRS, World, gate, listening, world
from tests.servers import free_port

DOCUMENT = Path(__file__).parents[2] / "docs" / "api.md"
SERVER, PROXY = "192.168.1.10", "192.168.1.5"  # of the example; here, both are this machine
NAME = "transcripts.example"
PAGE = {"Origin": f"https://{NAME}"}  # of a page of this server, as a browser says
LARGE = b"RIFF" + bytes(2 << 20)  # more than nginx takes by itself


def example(language: str) -> str:
    """The block of the document that names the proxy, or the settings behind it."""
    found = (block.body for block in documents.blocks(DOCUMENT.read_text()) if block.language == language)
    return next(body for body in found if SERVER in body).replace(SERVER, "127.0.0.1").replace(PROXY, "127.0.0.1")


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """SQLite alone: a proxy sees no difference."""
    return sqlite_url


@contextmanager
def nginx(folder: Path, server: int) -> Iterator[int]:
    """The example, before a server on that port; yields its own port."""
    program = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/bin")
    if not program:
        missing("nginx")
    certificates.make(folder, NAME)
    for made, named in (("server.pem", "transcripts.pem"), (certificates.KEY, "transcripts.key")):
        shutil.copy(folder / made, folder / named)
    (folder / "transcripts.users").write_text("alice:{PLAIN}secret\n")
    port = free_port()
    site = example("nginx").replace("/etc/nginx", str(folder)).replace("443 ssl", f"127.0.0.1:{port} ssl")
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"pid {folder}/pid; events {{}} http {{ access_log off; {temporary} {site.replace(':8765', f':{server}')} }}"
    )
    command = [program, "-e", f"{folder}/log", "-c", f"{folder}/nginx.conf", "-g", "daemon off; user root;"]
    with subprocess.Popen(command) as process:
        try:
            wait_until("nginx listens", (folder / "pid").exists)
            yield port
        finally:
            process.terminate()


def test_the_example_takes_uploads_and_passes_events_on_as_they_come(
    database: Database, own: Settings, tmp_path: Path
) -> None:
    there: World = world(database, tmp_path / "inbox")
    tokens.create(database, "alice", TokenRole.EDITOR, [there.our_folder])
    behind = own.model_copy(
        update=Settings.model_validate(tomllib.loads(example("toml"))).model_dump(exclude_unset=True)
    )
    with gate(database, behind) as made, listening(made, own) as (_, server), nginx(tmp_path, server) as port:
        trusted = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
        address = {"base_url": f"https://127.0.0.1:{port}", "headers": {"Host": NAME}, "verify": trusted}

        def ask(client: Any, method: str, path: str, **more: Any) -> Any:
            return client.request(method, f"/api/v1/{path}", extensions={"sni_hostname": NAME}, **more)

        with httpx2.Client(**address) as nobody, httpx2.Client(**address, auth=("alice", "secret")) as alice:
            assert ask(nobody, "GET", "recordings").status_code == 401
            assert ask(nobody, "GET", "recordings", headers={"X-Forwarded-User": "alice"}).status_code == 401
            assert THEIRS not in ask(alice, "GET", "recordings", headers={"X-Forwarded-User": "root"}).text
            place = {"folder": there.our_folder, "name": "large.wav"}
            assert ask(alice, "POST", "recordings", params=place, content=b"RIFF").status_code == 403, "no page of ours"
            sent = ask(alice, "POST", "recordings", params=place, content=LARGE, headers=PAGE)
            assert sent.status_code == 201, sent.text
            assert (there.root / OURS / "large.wav").read_bytes() == LARGE
            streamed = alice.stream("GET", "/api/v1/events", extensions={"sni_hostname": NAME})
            with streamed as events:
                lines = events.iter_lines()
                assert next(lines) == ": nothing happened"
                console.admit(database, f"{OURS}/fresh.wav", str(there.root))
                assert next(line for line in lines if line.startswith("event:")) == "event: admitted"
            made.app.state.stopping.set()
