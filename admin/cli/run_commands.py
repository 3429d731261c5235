"""What the commands that start work take; the modules that do it are imported when one is called."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from dropscribe.admin.cli import complete
from dropscribe.admin.cli.setting_options import given
from dropscribe.core import engines, start_up
from dropscribe.core.error_translation import translated
from dropscribe.core.types import Priority


class Role(StrEnum):
    """What a worker does."""

    CPU = "cpu"
    MODEL = "model"


# By a parser of our own: Typer's looks at what a path leads to, and a share may hang.
Folders = Annotated[
    list[Path],
    typer.Argument(
        metavar="FOLDER", parser=Path, help="Folders to watch, subfolders included; also s3://BUCKET/FOLDER."
    ),
]


def _engine(choice: str) -> str:
    """The name of an engine. Raises BadParameter for another one."""
    with translated(ValueError, into=lambda error: typer.BadParameter(str(error))):
        return engines.checked(choice)


EngineOption = Annotated[
    str | None,
    typer.Option(
        "--engine",
        parser=_engine,
        metavar=f"<{'|'.join(engines.choices())}>",
        autocompletion=complete.engine,
        help="Speech model; the setting `engine` if not given.",
    ),
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model", help="Checkpoint: a short name such as small, a folder or an id; else the setting `model`."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print what happens as JSON, for programs.")]


def up(
    ctx: typer.Context,
    folders: Folders,
    engine: EngineOption = None,
    model: ModelOption = None,
    drain: Annotated[bool, typer.Option("--drain", help="Stop when every recording is transcribed.")] = False,
    await_folders: Annotated[
        bool,
        typer.Option(
            "--wait-for-folders", help="Wait for folders that do not exist yet, such as shares that are mounted later."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Start everything on this machine, and transcribe all recordings in the folders, now and as they arrive."""
    with start_up.without_collection():
        from dropscribe.admin.local.up import up as start

    overrides = given(ctx) | {"engine": engine, "model": model}
    raise typer.Exit(start(folders, overrides, until_drained=drain, as_json=as_json, awaits=await_folders))


def watch(folders: Folders) -> None:
    """Watch folders and admit their recordings; workers elsewhere transcribe them."""
    from dropscribe.admin.local.daemons import watch as serve

    raise typer.Exit(serve(folders))


def worker(
    ctx: typer.Context,
    role: Annotated[Role, typer.Option(help="cpu: decode recordings and write transcripts; model: transcribe.")],
    gpu: Annotated[
        str | None,
        typer.Option(help="GPU of a model worker: its number among those that it may use, from 0, or its UUID."),
    ] = None,
    engine: EngineOption = None,
    model: ModelOption = None,
) -> None:
    """Run one worker of a fleet."""
    from dropscribe.admin.local.daemons import worker as serve

    raise typer.Exit(serve(role, gpu, given(ctx) | {"engine": engine, "model": model}))


def submit(
    ctx: typer.Context,
    files: Annotated[list[Path], typer.Argument(metavar="FILE", readable=False, help="Recordings, in any folder.")],
    priority: Annotated[Priority | None, typer.Option(help="How urgent they are.")] = None,
    context: Annotated[str | None, typer.Option(help="Names and topics that help the model to spell.")] = None,
    hotwords: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Terms to add to the context, one a line or with commas between."),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Return when they are transcribed.")] = False,
    as_json: Json = False,
) -> None:
    """Transcribe single recordings without watching their folder."""
    from dropscribe.admin.act.submit import submit as send

    code = send(
        ctx.obj, files, priority=priority, topic=context, hotwords=hotwords, own=given(ctx), wait=wait, as_json=as_json
    )
    raise typer.Exit(code)


def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to listen at; the setting `serve_host` if not given.")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Port; the setting `serve_port` if not given, and 0 for one that is free."),
    ] = None,
) -> None:
    """Answer programs over HTTP: upload, list, search, transcripts, events, and what can be done with a job.

    On this machine, your own programs need no token. Everybody else needs one: see `dropscribe token create`. At an
    address that other machines reach, it starts only once there is a token.
    """
    from dropscribe.admin.local.daemons import serve as answer

    raise typer.Exit(answer({"serve_host": host, "serve_port": port}))
