"""Who may ask the server: tokens, of which only digests are kept, each with a role and the folders it is limited to.

A token has 256 random bits, so that its plain SHA-256 cannot be guessed from.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, insert, select
from sqlalchemy.exc import IntegrityError

from dropscribe.core.errors import UsageError
from dropscribe.core.types import TokenRole
from dropscribe.store.session import Database
from dropscribe.store.tables import now, tokens

PREFIX = "ds_"  # by which people and scanners of secrets know one
RANDOM_BYTES = 32


@dataclass(frozen=True, slots=True)
class Token:
    """A token without its secret. `folders` are absolute paths; where they are empty, it is limited to none."""

    name: str
    role: TokenRole
    folders: tuple[str, ...]
    created_at: float = 0.0


def create(database: Database, name: str, role: TokenRole, folders: Sequence[str] = ()) -> str:
    """Make a token and return its secret, which is kept nowhere. Raises UsageError for a name that is taken."""
    secret = PREFIX + secrets.token_urlsafe(RANDOM_BYTES)
    values = {"name": name, "digest": _digest(secret), "role": role, "folders": [*folders], "created_at": now()}
    try:
        with database.begin() as connection:
            connection.execute(insert(tokens).values(**values))
    except IntegrityError as error:
        raise UsageError(
            f"there is a token {name} already", remedy=f"take another name, or `dropscribe token revoke {name}`"
        ) from error
    return secret


def of_secret(database: Database, secret: str) -> Token | None:
    """The token that somebody shows; None if there is none, or it was revoked."""
    with database.read() as connection:
        row = connection.execute(select(tokens).where(tokens.c.digest == _digest(secret))).first()
    return _token(row) if row else None


def of_name(database: Database, name: str) -> Token | None:
    """The token of this name; None if there is none."""
    with database.read() as connection:
        row = connection.execute(select(tokens).where(tokens.c.name == name)).first()
    return _token(row) if row else None


def list_tokens(database: Database) -> list[Token]:
    """All of them, by name."""
    with database.read() as connection:
        return [*map(_token, connection.execute(select(tokens).order_by(tokens.c.name)))]


def revoke(database: Database, name: str) -> None:
    """Let a token hold no more, from the next request on. Raises UsageError where there is none of that name."""
    with database.begin() as connection:
        gone = connection.execute(delete(tokens).where(tokens.c.name == name)).rowcount
    if not gone:
        raise UsageError(f"there is no token {name}", remedy="`dropscribe token list` shows them")


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _token(row: Any) -> Token:
    return Token(row.name, TokenRole(row.role), tuple(row.folders), row.created_at)
