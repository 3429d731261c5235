"""The server of `up`: a child that everything else does without, and that says itself at which address it listens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from dropscribe.admin.local.supervisor import Child, GaveUpError, Supervisor
from dropscribe.core.installing import how_to_install

SERVER = "server"
PACKAGES = ("fastapi", "python_multipart", "uvicorn")
ADDRESS = "server.address"  # of the state directory: where it listens, as long as it does


@dataclass
class ServerChild:
    """Started with `home` as its state directory.

    `say` tells people where it is, once for each start, and `show` opens its first address for them.
    """

    home: Path
    say: Callable[[str], None]
    show: Callable[[str], None] = lambda _address: None
    told: str = ""
    was_shown: bool = False

    @property
    def file(self) -> Path:
        """Where the server writes its address."""
        return self.home / ADDRESS

    def start(self, supervisor: Supervisor, *, wanted: bool = True) -> list[Child]:
        """Start it, if it is wanted and its packages are there; `say` reports missing ones."""
        self.file.unlink(missing_ok=True)  # an earlier `up` may have left it
        if not wanted:
            return []
        if missing := [name for name in PACKAGES if find_spec(name) is None]:
            self.say(f"no page: {' and '.join(missing)} not installed; {how_to_install('serve')}")
            return []
        return [supervisor.start(SERVER, SERVER, str(self.file))]

    def tell(self) -> None:
        """Say where it listens, as soon as it does."""
        if not self.told and self.file.exists() and (address := self.file.read_text(encoding="ascii")):
            self.told = address
            self.say(f"the server is at {address}")
            if not self.was_shown:
                self.was_shown = True
                self.show(address)

    def died(self) -> bool:
        """It died. True if it had listened."""
        had_listened = self.file.exists()
        self.file.unlink(missing_ok=True)
        self.told = ""
        return had_listened

    def go_on_without(self, error: GaveUpError) -> bool:
        """Say that it cannot run, and go on; False where the error is about another child."""
        if error.child.name != SERVER:
            return False
        self.say(f"{error}. Everything else goes on without it")
        return True
