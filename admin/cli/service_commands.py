"""What the commands of the group `service` take; the modules that do it are imported when one is called."""

from __future__ import annotations

from typing import Annotated

import typer

from dropscribe.admin.cli.run_commands import EngineOption, Folders, ModelOption
from dropscribe.admin.cli.setting_options import command_with, given, of_a_worker

app = typer.Typer(help="Let systemd start `up`, with the machine and again after a crash.", no_args_is_help=True)

ForUser = Annotated[bool, typer.Option("--user", help="A service of this user's own, without root.")]

INSTALL_EXAMPLES = """Examples:

  dropscribe service install ~/Recordings --user

  sudo dropscribe service install /srv/recordings --model small
"""


@app.command(cls=command_with(of_a_worker), epilog=INSTALL_EXAMPLES)
def install(
    ctx: typer.Context,
    folders: Folders,
    user: ForUser = False,
    engine: EngineOption = None,
    model: ModelOption = None,
) -> None:
    """Install `up` over these folders as a service, with the current settings; start it, and show it.

    Options and environment variables are saved in a file that the service reads; `dropscribe.toml` is read at each
    start. Without --user it is a service of the machine: root installs it, and it runs as the user who called sudo.
    Install it again to change its settings and folders.
    """
    from dropscribe.admin.local import service

    service.install(ctx.obj, folders, for_user=user, overrides=given(ctx) | {"engine": engine, "model": model})


UNINSTALL_EXAMPLES = """Examples:

  dropscribe service uninstall --user
"""


@app.command(epilog=UNINSTALL_EXAMPLES)
def uninstall(ctx: typer.Context, user: ForUser = False) -> None:
    """Stop the service and remove it. Recordings, transcripts and the store stay."""
    from dropscribe.admin.local import service

    service.uninstall(ctx.obj, for_user=user)


STATUS_EXAMPLES = """Examples:

  dropscribe service status --user
"""


@app.command(epilog=STATUS_EXAMPLES)
def status(ctx: typer.Context, user: ForUser = False) -> None:
    """Show whether the service runs and starts with the machine, and where its log is: exit 0 if it runs, else 1."""
    from dropscribe.admin.local import service

    raise typer.Exit(service.status(ctx.obj, for_user=user))
