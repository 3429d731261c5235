"""Commands of which each is made when it is asked for, so that `dropscribe status` makes only its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property, partial
from importlib import import_module
from operator import methodcaller
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand, TyperGroup

if TYPE_CHECKING:
    from dropscribe.admin.cli.setting_options import Declared


def quick(flag: Any) -> Any:
    """A flag that is False until it is given: to make sense of None, Typer imports pydantic, which takes longer."""
    flag.default = bool(flag.default)
    return flag


class LazyCoercion:
    """Makes sense of what was typed for a parameter. Typer does it by pydantic, which is not imported for plain text,
    nor for what nobody typed.
    """

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """The value as the command takes it."""
        if value is None:
            return () if param.multiple or param.nargs == -1 else None
        if value is param.default or (param.type_descriptor.annotation is str and isinstance(value, str)):
            return value
        param._runtime_param = None  # noqa: SLF001 (where Typer keeps what makes sense of values once it is made)
        try:
            return param.get_runtime_param().coerce(value, param=param, ctx=ctx)
        except typer.BadParameter as error:
            error.message = error.message.removeprefix("Value error, ")  # pydantic's
            raise
        finally:
            param._runtime_param = self  # noqa: SLF001 (for the next time that the command is run)


class QuickCommand(TyperCommand):
    """A command whose `--help` is such a flag."""

    def get_help_option(self, ctx: Any) -> Any:
        """The flag `--help`."""
        return quick(super().get_help_option(ctx))


class Offer:
    """A command that a shell offers, made only for a shell that shows what it is for."""

    type = "plain"

    def __init__(self, value: str, command: Callable[[], Any]) -> None:
        """Its name, and what makes it."""
        self.value = value
        self._command = command

    @property
    def help(self) -> str:
        """What the command is for, in a few words."""
        return str(self._command().get_short_help_str())


class QuickGroup(TyperGroup):
    """A group of commands whose `--help` is such a flag."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 (the base class's, which makes all of them)
        """The names."""
        return [*self.commands]

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """What may stand in the place of the word that was begun."""
        names = filter(methodcaller("startswith", incomplete), self.list_commands(ctx))
        return [
            *(Offer(name, partial(self.get_command, ctx, name)) for name in names),
            *super(TyperGroup, self).shell_complete(ctx, incomplete),
        ]

    def get_help_option(self, ctx: Any) -> Any:
        """The flag `--help`."""
        return quick(super().get_help_option(ctx))


class LazyCommand:
    """A command or a group of commands before it is made.

    `panel` is the heading under which `--help` lists it, and `home` its module in this room and the function or the
    `typer.Typer` there. `settings` is the function of `setting_options` that says which settings it takes as options.
    """

    def __init__(self, panel: str, home: str, *examples: str, settings: str = "") -> None:
        """`examples` are the arguments of calls that its help shows."""
        self.panel = panel
        self.module, _, self.attribute = home.partition(":")
        self.examples = examples
        self.settings = settings

    @cached_property
    def declaration(self) -> Any:
        """The function, or the `typer.Typer` of a group."""
        return getattr(import_module(f"{__package__}.{self.module}"), self.attribute)

    @property
    def is_group(self) -> bool:
        """True for a group of commands."""
        return isinstance(self.declaration, typer.Typer)

    def made(self, name: str) -> Any:
        """As Typer runs it, under this name."""
        if self.is_group:
            command: Any = typer.main.get_group(self.declaration)
        else:
            command = typer.main.get_command(self._alone(name))
            for parameter in command.params:
                parameter._runtime_param = LazyCoercion()  # noqa: SLF001 (as above)
        command.name, command.rich_help_panel = name, self.panel
        return command

    def _alone(self, name: str) -> typer.Typer:
        """The command in an application of its own, with its examples."""
        shown = (f"  dropscribe {name} {example}".rstrip() for example in self.examples)
        app = typer.Typer(add_completion=False)
        app.command(name, cls=self._kind(), epilog="\n\n".join(["Examples:", *shown]))(self.declaration)
        return app

    def _kind(self) -> type[TyperCommand]:
        """The class of the command: one that takes settings as options, where it does."""
        if not self.settings:
            return QuickCommand
        from dropscribe.admin.cli import setting_options

        declared: Declared = getattr(setting_options, self.settings)
        return setting_options.command_with(declared)


class LazyCommands(Mapping[str, Any]):
    """The commands by name, as Typer runs them. Each is made once, when it is first taken."""

    def __init__(self, declared: Mapping[str, LazyCommand]) -> None:
        """In the order of the help."""
        self.declared = declared
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        """Raises KeyError for a name that no command has."""
        if name not in self._made:
            self._made[name] = self.declared[name].made(name)
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        """The names."""
        return iter(self.declared)

    def __len__(self) -> int:
        """How many."""
        return len(self.declared)
