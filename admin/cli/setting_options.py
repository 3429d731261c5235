"""Options that are settings, made of the one declaration of each when a command is called or asked for help."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from itertools import starmap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

import typer

from dropscribe.admin.cli.lazy_commands import QuickCommand

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

PANEL = "Settings"
GIVEN = "dropscribe.settings"  # where the context of a command keeps what its options say
METAVARS: dict[Any, str] = {int: "INTEGER", float: "NUMBER", Path: "PATH"}

Declared = Callable[[], "dict[str, FieldInfo]"]


def given(ctx: typer.Context) -> dict[str, Any]:
    """The settings that the options of a command say, by name."""
    found: dict[str, Any] = ctx.meta.get(GIVEN, {})
    return found


def command_with(declared: Declared) -> type[QuickCommand]:
    """A class of commands that take these settings as options, besides those of their functions.

    `declared` is called late, since no other command has to import the settings.
    """

    class CommandWithSettings(QuickCommand):
        def get_params(self, ctx: Any) -> list[Any]:
            """The parameters of the command, and the settings that it takes as options."""
            own = super().get_params(ctx)
            taken = {name for param in own for name in param.opts}
            return [*own, *(option for option in _options(declared()) if not taken.intersection(option.opts))]

    return CommandWithSettings


def of_a_worker() -> dict[str, FieldInfo]:
    """The options of a process that transcribes."""
    from dropscribe.core.settings import options

    return options()


def of_a_job() -> dict[str, FieldInfo]:
    """The options of a single recording."""
    from dropscribe.core.settings import job_options

    return job_options()


def _options(declared: dict[str, FieldInfo]) -> list[Any]:
    """As Typer makes them of a function's signature."""
    parameters = [*starmap(_parameter, declared.items())]
    parameters.append(_parameter_of("verbose", _verbose(quiet="log_level" not in declared), is_flag=True))

    def take() -> None:
        """Never called: only its options are wanted."""

    take.__dict__["__signature__"] = inspect.Signature(parameters)
    take.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    app = typer.Typer(add_completion=False)
    app.command()(take)
    return typer.main.get_command(app).params


def _parameter(name: str, field: FieldInfo) -> inspect.Parameter:
    """A setting as a parameter of a command."""
    option = typer.Option(
        *_spellings(name, field),
        metavar=_metavar(field),
        help=_sentence(field.description or ""),
        expose_value=False,
        callback=_keeper(name),
        rich_help_panel=PANEL,
    )
    return _parameter_of(name.replace(".", "_"), option, is_flag=field.annotation is bool)


def _parameter_of(name: str, option: Any, *, is_flag: bool) -> inspect.Parameter:
    """A parameter that Typer takes for a flag or for text."""
    annotation: Any = Annotated[bool | None, option] if is_flag else Annotated[str | None, option]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _sentence(description: str) -> str:
    """A description as a sentence.

    >>> _sentence("how many chunks at once")
    'How many chunks at once.'
    """
    return f"{description[:1].upper()}{description[1:]}."


def _verbose(*, quiet: bool) -> Any:
    """Like the option that all commands take before their names; a process that works logs more, too."""

    def be_verbose(ctx: typer.Context, value: bool | None) -> None:
        """Note it for the whole command, and for the logs of what it starts."""
        if not value:
            return
        ctx.find_root().obj.verbose = True
        if not quiet:
            ctx.meta.setdefault(GIVEN, {}).setdefault("log_level", "debug")

    what = "Show the traceback of an error." if quiet else "Log everything, and show the traceback of an error."
    return typer.Option("--verbose", "-v", help=what, expose_value=False, callback=be_verbose)


def _spellings(name: str, field: FieldInfo) -> list[str]:
    """How a setting is written on the command line; some have a short name besides."""
    from dropscribe.core.settings_groups import marks_of  # with it comes pydantic, and no completion waits for that

    called = name.rpartition(".")[2].replace("_", "-")
    if field.annotation is bool:
        return [f"--{called}/--no-{called}"]
    other = marks_of(field).get("option")
    return [f"--{called}", *([other] if isinstance(other, str) else [])]


def _metavar(field: FieldInfo) -> str | None:
    """What stands for the value in the help; None for a flag."""
    if field.annotation is bool:
        return None
    if get_origin(field.annotation) is Literal:
        return f"<{'|'.join(map(str, get_args(field.annotation)))}>"
    kinds = (field.annotation, *get_args(field.annotation))
    return next((METAVARS[kind] for kind in kinds if kind in METAVARS), "TEXT")


def _keeper(name: str) -> Callable[[typer.Context, Any], None]:
    """What notes a setting that was given."""

    def keep(ctx: typer.Context, value: Any) -> None:
        """Note a setting that was given, by its name."""
        if value is not None:
            ctx.meta.setdefault(GIVEN, {})[name] = value

    return keep
