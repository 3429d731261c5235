"""Run as `python -m tests.integration.every_command ARGUMENT`: calls every command that the command line has, one by
one, with what its parameters demand. Whatever they print goes to the two outputs of this process.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from enum import Enum
from typing import Any

from dropscribe.admin.cli.main import COMMANDS, main
from dropscribe.admin.context import Context


def commands() -> Iterator[tuple[list[str], Any]]:
    """The names that call each command, those of the groups among them, and the command as Typer has it."""
    for name, made in COMMANDS.items():
        for below, command in getattr(made, "commands", {"": made}).items():
            yield [*filter(None, (name, below))], command


def demanded(command: Any, argument: str) -> Iterator[str]:
    """The argument, or the first of the values that there are, wherever the command takes one or cannot do without."""
    for parameter in command.params:
        is_option = parameter.param_type_name == "option"
        if parameter.required or not is_option:
            kind = parameter.type_descriptor.annotation
            yield from parameter.opts[:1] if is_option else ()
            yield next(iter(kind)).value if isinstance(kind, type) and issubclass(kind, Enum) else argument


if __name__ == "__main__":
    sys.modules["torch"] = None  # type: ignore[assignment]  # nothing comes to where it is needed, and it takes seconds
    for names, command in commands():
        call = [*names, *demanded(command, sys.argv[1])]
        print("\n$", *call, main(["--verbose", *call], Context()), flush=True)
