"""What the commands of the group `token` take; the modules that do it are imported when one is called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dropscribe.admin.cli.commands import Json
from dropscribe.core.types import TokenRole

app = typer.Typer(
    help="Make tokens for the server (`dropscribe serve`): all but the operator on this machine need one.",
    no_args_is_help=True,
)


TokenName = Annotated[str, typer.Argument(metavar="NAME", help="A name for the token.")]

CREATE_EXAMPLES = """Examples:

  dropscribe token create archive --role reader

  dropscribe token create hr-desk --role editor --folder /srv/recordings/hr --folder /srv/recordings/legal
"""


@app.command(epilog=CREATE_EXAMPLES)
def create(
    ctx: typer.Context,
    name: TokenName,
    role: Annotated[
        TokenRole,
        typer.Option(
            help="reader asks; editor also uploads and acts on jobs; admin also pauses the fleet and removes voices."
        ),
    ],
    folder: Annotated[
        list[Path] | None,
        typer.Option(help="Limit it to recordings below this folder; repeatable. Without one: all folders."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a token and print it, once.

    The store keeps only its digest. A token that is limited to folders sees nothing of what lies elsewhere: no
    recording, no text, no event and no count.
    """
    from dropscribe.admin.act import tokens as answer

    answer.create(ctx.obj, name, role, folder or [], as_json=as_json)


LIST_EXAMPLES = """Examples:

  dropscribe token list

  dropscribe token list --json
"""


@app.command("list", epilog=LIST_EXAMPLES)
def list_(ctx: typer.Context, as_json: Json = False) -> None:
    """List the tokens, with what each may do and where."""
    from dropscribe.admin.act import tokens as answer

    answer.listing(ctx.obj, as_json=as_json)


REVOKE_EXAMPLES = """Examples:

  dropscribe token revoke hr-desk
"""


@app.command(epilog=REVOKE_EXAMPLES)
def revoke(ctx: typer.Context, name: TokenName, as_json: Json = False) -> None:
    """Revoke a token; it is refused from the next request on."""
    from dropscribe.admin.act import tokens as answer

    answer.revoke(ctx.obj, name, as_json=as_json)
