"""Accounts for attacks: a child process that is somebody else, and a share that all of them reach."""

from __future__ import annotations

import os
import pickle
import shutil
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody of this machine; no file of it has to know them."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()

    def does(self, act: Callable[[], Any]) -> Any:
        """What the call returns, or raises, when this account makes it, in a child process."""
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            self._die_of(act, writer)
        os.close(writer)
        with os.fdopen(reader, "rb") as answers:
            data = answers.read()
        os.waitpid(child, 0)
        assert data, "the child died without a word"
        returned, error = pickle.loads(data)
        if error is not None:
            raise error
        return returned

    def _die_of(self, act: Callable[[], Any], writer: int) -> None:
        try:
            os.setgroups(self.groups)
            os.setresgid(self.gid, self.gid, self.gid)
            os.setresuid(self.uid, self.uid, self.uid)
            answer = (act(), None)
        except BaseException as error:
            traceback.print_exc()
            answer = (None, error)
        with os.fdopen(writer, "wb") as out:
            out.write(pickle.dumps(answer))
        os._exit(0)

    def can_read(self, path: Path) -> bool:
        """Is it let do that?"""

        def tried() -> bool:
            try:
                path.read_bytes()
            except (PermissionError, FileNotFoundError):
                return False
            return True

        return bool(self.does(tried))

    def owns(self, path: Path, mode: int) -> Path:
        """Give it the file or folder."""
        os.chown(path, self.uid, self.gid)
        path.chmod(mode)
        return path


CLINIC = 64_100  # the group that the worker reads recordings by
WORKER = Account(64_001, 64_001, (CLINIC,))
OWNER = Account(64_002, CLINIC)
STRANGER = Account(64_003, 64_003)


@contextmanager
def shared_folder() -> Iterator[Path]:
    """A folder in which everybody may create, delete and rename what lies at its top."""
    made = Path(tempfile.mkdtemp(prefix="share-")).resolve()
    try:
        made.chmod(0o755)
        top = made / "share"
        top.mkdir()
        top.chmod(0o777)
        yield top
    finally:
        shutil.rmtree(made)
