"""The command `dropscribe`: which commands there are, and how a command ends.

Exit codes: 0 all is well; 1 it failed; 2 the command line or a setting was wrong; of `up --drain` and `submit --wait`
also 3 a transcript is suspect, 4 a recording has none; 70 a model's process must start again; 130 interrupted.

Importing this module imports neither store nor settings nor rich, and no module of the commands.
"""

from __future__ import annotations

import gc
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import closing
from functools import cache, partial
from io import TextIOWrapper
from itertools import takewhile
from types import TracebackType
from typing import Annotated, Any, cast

import typer

from dropscribe.admin.cli.lazy_commands import LazyCommand, LazyCommands, QuickGroup, quick
from dropscribe.admin.context import Context
from dropscribe.core.errors import DropscribeError, UsageError
from dropscribe.core.passwords import redact
from dropscribe.core.version import VERSION

app = typer.Typer(
    name="dropscribe",
    cls=QuickGroup,
    help="Drop a recording into a folder, find its transcript beside it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

BAD_COMMAND_LINE = cast(type[Any], typer.BadParameter.__base__)  # what Typer raises for any of them

RUN, ASK, CHANGE, CHECK, MODELS, VOICES, SERVICE = "Run", "Ask", "Change", "Check", "Models", "Voices", "Service"
SERVER = "Server"
OF_A_WORKER, OF_A_JOB = "of_a_worker", "of_a_job"

COMMANDS = LazyCommands(
    {
        "up": LazyCommand(
            RUN,
            "run_commands:up",
            "~/Recordings",
            "~/Recordings --drain",
            "/data/a /data/b --model small",
            "~/Recordings --language de --output ~/Transcripts",
            settings=OF_A_WORKER,
        ),
        "watch": LazyCommand(RUN, "run_commands:watch", "/mnt/nas/interviews"),
        "worker": LazyCommand(
            RUN,
            "run_commands:worker",
            "--role cpu",
            "--role model --gpu 0",
            "--role model --model /srv/models/vibevoice-nf4 --attention sdpa",
            settings=OF_A_WORKER,
        ),
        "submit": LazyCommand(
            RUN,
            "run_commands:submit",
            "talk.mp3 --wait",
            "talk.mp3 --priority high --context 'Ada Lovelace, Babbage'",
            "talk.mp3 --hotwords names.txt",
            "talk.mp3 --language de --speakers 2 --outputs srt,txt",
            settings=OF_A_JOB,
        ),
        "serve": LazyCommand(RUN, "run_commands:serve", "", "--port 9000", "--host 192.168.1.10"),
        "status": LazyCommand(ASK, "commands:status", "", "--watch", "--json"),
        "jobs": LazyCommand(
            ASK, "commands:jobs", "", "--state failed --state parked", "--folder ~/Recordings --limit 0"
        ),
        "show": LazyCommand(ASK, "commands:show", "k3v9", "~/Recordings/talk.mp3", "k3v9 --json"),
        "transcript": LazyCommand(
            ASK, "commands:transcript", "k3v9", "~/Recordings/talk.mp3 --format srt", "k3v9 -f docx -o talk.docx"
        ),
        "export": LazyCommand(
            ASK,
            "commands:export",
            "~/Recordings --format html",
            "k3v9 --format docx --to ~/Desktop",
            "~/Recordings --format html --to /srv/pages --force",
            "~/Recordings --combined all.json",
        ),
        "logs": LazyCommand(ASK, "commands:logs", "k3v9", "~/Recordings/talk.mp3 --follow", "k3v9 --json"),
        "search": LazyCommand(
            ASK,
            "commands:search",
            "budget",
            "'next year' budget* --speaker Alice --since 30d",
            "budget --folder ~/Recordings --around 2",
        ),
        "workers": LazyCommand(ASK, "commands:workers", "", "--json"),
        "speakers": LazyCommand(
            CHANGE, "commands:speakers", "k3v9", "k3v9 --name 0=Alice --name 1=Bob", "k3v9 --merge 3=0"
        ),
        "retry": LazyCommand(CHANGE, "commands:retry", "k3v9", "--failed"),
        "cancel": LazyCommand(CHANGE, "commands:cancel", "k3v9 ~/Recordings/talk.mp3"),
        "priority": LazyCommand(CHANGE, "commands:priority", "k3v9 high", "~/Recordings/a.mp3 ~/Recordings/b.mp3 low"),
        "rerun": LazyCommand(CHANGE, "commands:rerun", "~/Recordings/talks", "~/Recordings/talks/a.wav --yes"),
        "forget": LazyCommand(
            CHANGE,
            "commands:forget",
            "k3v9 --outputs --yes",
            "~/Recordings/talk.mp3",
            "--older-than 90d --state done --state duplicate",
        ),
        "pause": LazyCommand(CHANGE, "commands:pause", ""),
        "resume": LazyCommand(CHANGE, "commands:resume", ""),
        "drain": LazyCommand(CHANGE, "commands:drain", "gpu-3 --wait", "--all"),
        "backup": LazyCommand(CHANGE, "commands:backup", "/mnt/backup/dropscribe.backup"),
        "restore": LazyCommand(
            CHANGE, "commands:restore", "/mnt/backup/dropscribe.backup", "/mnt/backup/dropscribe.backup --yes"
        ),
        "import-store": LazyCommand(CHANGE, "commands:import_store", "~/.local/state/dropscribe/dropscribe.db"),
        "doctor": LazyCommand(CHECK, "commands:doctor", "", "--json"),
        "health": LazyCommand(CHECK, "commands:health", "", "--role model", "--role scheduler --json"),
        "plan": LazyCommand(CHECK, "commands:plan", "", "--vram 24", "--gpu 0 --json"),
        "config": LazyCommand(CHECK, "commands:config", "", "--json"),
        "models": LazyCommand(MODELS, "models_commands:app"),
        "voices": LazyCommand(VOICES, "voices_commands:app"),
        "token": LazyCommand(SERVER, "token_commands:app"),
        "service": LazyCommand(SERVICE, "service_commands:app"),
    }
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"dropscribe {VERSION}")
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


@cache
def command() -> Any:
    """All commands as Click has them, of which each is made when it is called: to make all takes 50 ms."""
    group: Any = typer.main.get_command(app)
    group.commands = COMMANDS
    for flag in group.params:
        quick(flag)
    return group


def main(arguments: Sequence[str], context: Context) -> int:
    """Run one command to its end and return the exit code; errors of ours are said on standard error."""
    context.as_json = "--json" in takewhile("--".__ne__, arguments)
    with closing(context):
        try:
            code = command()(list(arguments), prog_name="dropscribe", obj=context, standalone_mode=not context.as_json)
        except DropscribeError as error:
            context.fail(error)
            return error.exit_code
        except BAD_COMMAND_LINE as error:  # raised only where Typer is not to explain it to people itself
            called = error.ctx.command_path if error.ctx else "dropscribe"
            context.fail(UsageError(error.format_message().rstrip("."), remedy=f"see `{called} --help`"))
            return UsageError.exit_code
        except SystemExit as end:
            code = end.code
    return code if isinstance(code, int) else 0


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
        sys.stderr.write(redact("".join(traceback.format_exception(kind, error, trace))))
    context.unexpected(f"{kind.__name__}: {error}; run with -v for the traceback")
