"""The command line's composition root: settings, store, doorbell and consoles, each made when first asked for."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dropscribe.core.errors import BrokerError, DropscribeError, InternalError, StoreError
from dropscribe.core.passwords import redact

if TYPE_CHECKING:
    from rich.console import Console

    from dropscribe.core.queue import Doorbell
    from dropscribe.core.settings import Settings
    from dropscribe.core.store_settings import StoreSettings
    from dropscribe.store.session import Database


class Context:
    """What the commands of one process share. Close it at the end. `as_json`: programs read what is printed."""

    def __init__(self) -> None:
        """Reads and opens nothing yet."""
        self.verbose = False
        self.as_json = False
        self._closing = ExitStack()

    @cached_property
    def settings(self) -> Settings:
        """All settings. Raises SettingsError."""
        from dropscribe.core.settings_loading import load

        settings = load()
        for remark in settings.remarks:
            self.note(remark)
        return settings

    @cached_property
    def asking(self) -> StoreSettings:
        """Those by which the store is found and asked. Raises SettingsError."""
        from dropscribe.core.store_settings import unset

        return unset() or self.settings

    @property
    def has_store(self) -> bool:
        """False where the SQLite store was not made yet; opening it would make it."""
        file = self.asking.sqlite_file
        return file is None or file.exists()

    @cached_property
    def database(self) -> Database:
        """The store as it is: no command that uses it creates or migrates it. Raises StoreError."""
        from dropscribe.store.quick_database import open_to_ask

        if not self.has_store:
            raise StoreError(
                f"nothing here yet (no {self.asking.sqlite_file})", remedy="start with `dropscribe up FOLDER`"
            )
        database = open_to_ask(self.asking.database)
        self._closing.callback(database.close)
        return database

    @cached_property
    def doorbell(self) -> Doorbell:
        """The way to the workers; opens no connection before it is rung."""
        from dropscribe.core.queue import Doorbell

        doorbell = Doorbell(self.settings)
        self._closing.callback(doorbell.close)
        return doorbell

    def ring(self, task: str, row: str, priority: str) -> bool:
        """Send one message; True when it was sent. Else says that the row waits, which loses nothing."""
        try:
            self.doorbell.ring(task, row, priority)
        except BrokerError as error:
            if self.settings.redis_url:
                self.warn(f"{error}. Nothing is lost: the scheduler sends it when it can")
            else:
                self.note("dropscribe is not running here; the next `dropscribe up FOLDER` does this")
            return False
        return True

    @cached_property
    def out(self) -> Console:
        """Standard output, for answers."""
        from dropscribe.admin.terminal.render import console

        return console()

    @cached_property
    def err(self) -> Console:
        """Standard error, for remarks."""
        from dropscribe.admin.terminal.render import console

        return console(stderr=True)

    def answer(self, document: Callable[[], Any], show: Callable[[], object], *, as_json: bool) -> None:
        """Print a command's JSON document, or have it shown to people: only the one that is asked for is made."""
        from dropscribe.admin.terminal.render import write_json

        if as_json:
            write_json(document())
        else:
            show()

    def say(self, text: str) -> None:
        """One line of an answer for people, which no terminal breaks or cuts."""
        from dropscribe.admin.terminal.render import safe

        self.out.print(safe(text), soft_wrap=True)

    def warn(self, message: str) -> None:
        """One yellow line on standard error."""
        self.remark("warning", message, "yellow")

    def warn_and_keep(self, kept: list[str], message: str) -> None:
        """Warn, and keep the message for a document."""
        kept.append(message)
        self.warn(message)

    def note(self, message: str) -> None:
        """One yellow line on standard error about nothing bad."""
        self.remark("note", message, "yellow")

    def doubt_of(self, target: Path) -> Callable[[DropscribeError], None]:
        """Takes what is wrong with a file that is written all the same, and says it as a note."""
        return lambda error: self.note(f"{target}: {error.problem}")

    def fail(self, error: DropscribeError) -> None:
        """Say the error that ends the command: to programs as JSON on standard output."""
        if not self.as_json:
            self.complain(error)
            return
        from dropscribe.admin.terminal.render import write_json_line

        write_json_line({"event": "error", "error": error.document})

    def unexpected(self, message: str) -> None:
        """Say a defect of ours, in red; to programs as an error of the code `internal`."""
        message = redact(message)
        if self.as_json:
            self.fail(InternalError(message))
        else:
            self.remark("internal error", message, "red")

    def complain(self, error: DropscribeError) -> None:
        """Say an error in one red line, after its traceback where `--verbose` asks for it."""
        if self.verbose:
            sys.stderr.write(redact("".join(traceback.format_exception(error))))
        self.remark("error", str(error), "red")

    def remark(self, label: str, message: str, style: str) -> None:
        """One coloured line on standard error."""
        from rich.text import Text

        from dropscribe.admin.terminal.render import safe

        self.err.print(Text(f"{label}: {safe(message)}", style=style), soft_wrap=True)

    def close(self) -> None:
        """Close what was opened."""
        self._closing.close()


class EmbeddedContext(Context):
    """For a program or a server that does what commands do: with its own settings and store; remarks go to the log."""

    def __init__(self, settings: Settings, database: Database) -> None:
        """Both are the caller's to close."""
        super().__init__()
        self.settings = self.asking = settings
        self.database = database

    def remark(self, label: str, message: str, style: str) -> None:  # noqa: ARG002 (a log has no colours)
        """As the command line says it on standard error."""
        import logging

        logging.getLogger(__name__).warning("%s: %s", label, message)
