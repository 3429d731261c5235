"""As much of Hugging Face's interface as fetching takes: one checkpoint, served from a folder."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

LARGE = {".safetensors", ".bin", ".onnx"}  # what the hub keeps apart, under the hash of its content


@dataclass
class Hub:
    """What is served; `breaks` answers are still to end in the middle, `ranges` is what was asked after that."""

    folder: Path
    identity: str
    commit: str
    breaks: int = 0
    url: str = ""
    ranges: list[str] = field(default_factory=list)


def blob_name(path: Path) -> str:
    """As the hub names it: large files by their content, others as git does."""
    content = path.read_bytes()
    if path.suffix in LARGE:
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@contextmanager
def served(hub: Hub) -> Iterator[Hub]:
    """Serve it on a free port of this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        name, commit = self.hub.identity, self.hub.commit
        files = {one.name: one for one in self.hub.folder.iterdir()}
        wanted = path.rpartition("/")[2]
        if path in {
            f"/api/models/{name}",
            f"/api/models/{name}/revision/main",
            f"/api/models/{name}/revision/{commit}",
        }:
            self.say(json.dumps({"id": name, "sha": commit, "siblings": []}).encode())
        elif path == f"/api/models/{name}/tree/{commit}":
            rest = {"type": "file", "path": "pytorch_model.bin", "size": 10**15, "oid": "0" * 40}
            self.say(json.dumps([*map(listed, files.values()), rest]).encode())
        elif path == f"/{name}/resolve/{commit}/{wanted}" and wanted in files:
            self.give(files[wanted])
        else:
            error = "RevisionNotFound" if path.startswith(f"/api/models/{name}/") else "RepoNotFound"
            self.say(b"{}", 404, **{"X-Error-Code": error})

    def give(self, path: Path) -> None:
        """A file, or what of it is asked for; as long as it is to break, only the first half of large ones."""
        content, tag = path.read_bytes(), f'"{blob_name(path)}"'
        asked = self.headers.get("Range", "")
        if asked:
            self.hub.ranges.append(asked)
            begin = int(asked.removeprefix("bytes=").partition("-")[0])
            rest = f"bytes {begin}-{len(content) - 1}/{len(content)}"
            self.say(content[begin:], 206, ETag=tag, **{"Content-Range": rest})
        elif self.command == "GET" and path.suffix in LARGE and self.hub.breaks:
            self.hub.breaks -= 1
            self.say(content, sent=len(content) // 2, ETag=tag)
            self.close_connection = True
        else:
            self.say(content, ETag=tag)

    def say(self, content: bytes, status: int = 200, sent: int | None = None, **headers: str) -> None:
        self.send_response(status)
        size = str(len(content))
        standard = {"Content-Length": size, "X-Repo-Commit": self.hub.commit, "Content-Type": "application/json"}
        for name, value in (standard | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content[:sent])


def listed(path: Path) -> dict[str, Any]:
    """A file in the hub's list."""
    entry: dict[str, Any] = {"type": "file", "path": path.name, "size": path.stat().st_size, "oid": blob_name(path)}
    if path.suffix in LARGE:
        entry |= {"lfs": {"oid": blob_name(path), "size": entry["size"], "pointerSize": 134}, "oid": "1" * 40}
    return entry
