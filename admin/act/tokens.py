"""`dropscribe token create`, `list` and `revoke`: who may ask the server, besides the operator on this machine."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from dropscribe.admin.context import Context
from dropscribe.admin.state.job_lookup import below
from dropscribe.admin.terminal import render
from dropscribe.core.clock import with_moments
from dropscribe.core.errors import UsageError
from dropscribe.core.types import TokenRole
from dropscribe.store import tokens
from dropscribe.store.tokens import Token

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


def create(context: Context, name: str, role: TokenRole, folders: Sequence[Path], *, as_json: bool) -> None:
    """Make a token and print its secret, once. Raises UsageError for a name that does not fit or is taken."""
    if not NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is not a name for a token", remedy="use up to 64 letters, digits, dots, dashes or @"
        )
    limits = [*filter(None, map(below, folders))]
    secret = tokens.create(context.database, name, role, limits)
    context.answer(
        lambda: {"name": name, "role": role, "folders": limits, "token": secret},
        lambda: _show_secret(context, secret),
        as_json=as_json,
    )


def _show_secret(context: Context, secret: str) -> None:
    """Show a token's secret, this once."""
    context.say(secret)
    context.note("save it now: the store keeps only its digest, and it is not shown again")


def listing(context: Context, *, as_json: bool) -> None:
    """Print the tokens, without their secrets."""
    found = tokens.list_tokens(context.database)
    context.answer(
        lambda: {"tokens": [with_moments(asdict(token), "created_at") for token in found]},
        lambda: _show(context, found),
        as_json=as_json,
    )


def _show(context: Context, found: Sequence[Token]) -> None:
    """The tokens as a table."""
    if not found:
        context.out.print("no tokens yet; `dropscribe token create` makes one")
        return
    columns = ("name", "role", "created", "folders")
    context.out.print(render.table(*columns, rows=map(_row, found), whole=("name", "role", "created")))


def _row(token: Token) -> list[str]:
    """The cells of a token."""
    folders = render.safe(", ".join(token.folders)) or "all"
    return [token.name, token.role, render.moment(token.created_at), folders]


def revoke(context: Context, name: str, *, as_json: bool) -> None:
    """Let a token hold no more. Raises UsageError where there is none of that name."""
    tokens.revoke(context.database, name)
    context.answer(
        lambda: {"name": name, "revoked": True},
        lambda: context.say(f"{name} is revoked; the server refuses it from now on"),
        as_json=as_json,
    )
