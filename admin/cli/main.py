"""The command `dropscribe`: which commands there are, and how a command ends.

Exit codes: 0 all is well; 1 it failed; 2 the command line or a setting was wrong; of `up --drain` and `submit --wait`
also 3 a transcript is suspect, 4 a recording has none; 70 a model's process must start anew; 130 interrupted.

Importing this module imports neither store nor settings nor rich.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from io import TextIOWrapper
from types import TracebackType
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from dropscribe.admin.cli import commands, models_commands, service_commands, voices_commands
from dropscribe.admin.cli import run_commands as running
from dropscribe.admin.cli.setting_options import command_with, of_a_job, of_a_worker
from dropscribe.admin.context import Context
from dropscribe.core.errors import DropscribeError

app = typer.Typer(
    name="dropscribe",
    help="Drop a recording into a folder, find its transcript beside it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

RUN, ASK, CHANGE, CHECK, MODELS, VOICES, SERVICE = "Run", "Ask", "Change", "Check", "Models", "Voices", "Service"


def _add(
    panel: str, command: Callable[..., Any], name: str, *examples: str, cls: type[TyperCommand] = TyperCommand
) -> None:
    epilog = "\n\n".join(["Examples:", *(f"  dropscribe {name} {example}".rstrip() for example in examples)])
    app.command(name, cls=cls, rich_help_panel=panel, epilog=epilog)(command)


_add(
    RUN,
    running.up,
    "up",
    "~/Recordings",
    "~/Recordings --drain",
    "/data/a /data/b --model small",
    "~/Recordings --language de --output ~/Transcripts",
    cls=command_with(of_a_worker),
)
_add(RUN, running.watch, "watch", "/mnt/nas/interviews")
_add(
    RUN,
    running.worker,
    "worker",
    "--role cpu",
    "--role model --gpu 0",
    "--role model --model /srv/models/vibevoice-nf4 --attention sdpa",
    cls=command_with(of_a_worker),
)
_add(
    RUN,
    running.submit,
    "submit",
    "talk.mp3 --wait",
    "talk.mp3 --priority high --context 'Ada Lovelace, Babbage'",
    "talk.mp3 --hotwords names.txt",
    "talk.mp3 --language de --speakers 2 --outputs srt,txt",
    cls=command_with(of_a_job),
)

_add(ASK, commands.status, "status", "", "--watch", "--json")
_add(ASK, commands.jobs, "jobs", "", "--state failed --state parked", "--folder ~/Recordings --limit 0")
_add(ASK, commands.show, "show", "k3v9", "~/Recordings/talk.mp3", "k3v9 --json")
_add(ASK, commands.transcript, "transcript", "k3v9", "~/Recordings/talk.mp3 --format srt", "k3v9 -f docx -o talk.docx")
_add(
    ASK,
    commands.export,
    "export",
    "~/Recordings --format html",
    "k3v9 --format docx --to ~/Desktop",
    "~/Recordings --format html --to /srv/pages --force",
    "~/Recordings --combined all.json",
)
_add(ASK, commands.logs, "logs", "k3v9", "~/Recordings/talk.mp3 --follow", "k3v9 --json")
_add(
    ASK,
    commands.search,
    "search",
    "budget",
    "'next year' budget* --speaker Alice --since 30d",
    "budget --folder ~/Recordings --around 2",
)
_add(ASK, commands.workers, "workers", "", "--json")

_add(CHANGE, commands.speakers, "speakers", "k3v9", "k3v9 --name 0=Alice --name 1=Bob", "k3v9 --merge 3=0")
_add(CHANGE, commands.retry, "retry", "k3v9", "--failed")
_add(CHANGE, commands.cancel, "cancel", "k3v9 ~/Recordings/talk.mp3")
_add(CHANGE, commands.rerun, "rerun", "~/Recordings/talks", "~/Recordings/talks/a.wav --yes")
_add(
    CHANGE,
    commands.forget,
    "forget",
    "k3v9 --outputs --yes",
    "~/Recordings/talk.mp3",
    "--older-than 90d --state done --state duplicate",
)
_add(CHANGE, commands.pause, "pause", "")
_add(CHANGE, commands.resume, "resume", "")
_add(CHANGE, commands.drain, "drain", "gpu-3 --wait", "--all")
_add(CHANGE, commands.backup, "backup", "/mnt/backup/dropscribe.backup")
_add(CHANGE, commands.restore, "restore", "/mnt/backup/dropscribe.backup", "/mnt/backup/dropscribe.backup --yes")
_add(CHANGE, commands.import_store, "import-store", "~/.local/state/dropscribe/dropscribe.db")

_add(CHECK, commands.doctor, "doctor", "", "--json")
_add(CHECK, commands.health, "health", "", "--role model", "--role scheduler --json")
_add(CHECK, commands.plan, "plan", "", "--vram 24", "--gpu 0 --json")
_add(CHECK, commands.config, "config", "", "--json")

app.add_typer(models_commands.app, name="models", rich_help_panel=MODELS)
app.add_typer(voices_commands.app, name="voices", rich_help_panel=VOICES)
app.add_typer(service_commands.app, name="service", rich_help_panel=SERVICE)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"dropscribe {version('dropscribe')}")
        raise typer.Exit


@app.callback()
def _global_options(
    ctx: typer.Context,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Show the traceback of an error.")] = False,
    version: Annotated[  # noqa: ARG001 (its callback answers)
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    ctx.obj.verbose = verbose


def main(arguments: Sequence[str], context: Context) -> int:
    """Run one command to its end and return the exit code; errors of ours are said on standard error."""
    command = typer.main.get_command(app)
    with closing(context):
        try:
            command(list(arguments), prog_name="dropscribe", obj=context)
        except DropscribeError as error:
            context.complain(error)
            return error.exit_code
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else 0
    return 0


def run() -> None:
    """The entry point `dropscribe`."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a file's name must not end a command where the locale is not UTF-8
    context = Context()
    sys.excepthook = partial(_unexpected, context)
    try:
        code = main(sys.argv[1:], context)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader (`head`, say) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
        code = 1
    gc.freeze()  # nothing is left to collect, and looking takes a fifth of the time of a quick command
    sys.exit(code)


def _unexpected(context: Context, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    if context.verbose:
        sys.__excepthook__(kind, error, trace)
    context.remark("internal error", f"{kind.__name__}: {error}; run with -v for the traceback", "red")
