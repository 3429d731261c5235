"""Tokens: made, listed, shown and revoked, and only their digests kept."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import select

from dropscribe.core.types import TokenRole
from dropscribe.store import tokens
from dropscribe.store.session import Database
from dropscribe.store.tables import tokens as table
from tests.integration.console import Cli
from tests.schemas import conforms


def test_a_token_is_shown_once_and_kept_as_a_digest(store: Database, cli: Cli, tmp_path: Path) -> None:
    made = cli(
        "token", "create", "hr", "--role", "editor", "--folder", "inbox", "--folder", "s3://talks/2026/", "--json"
    ).json
    conforms(made, "token-create")
    secret = made["token"]
    assert secret.startswith("ds_")
    assert len(secret) > 40
    with store.read() as connection:
        (row,) = connection.execute(select(table))
    assert secret not in str(row)
    token = tokens.of_secret(store, secret)
    assert token
    assert (token.name, token.role, token.folders) == (
        "hr",
        TokenRole.EDITOR,
        (str(tmp_path / "inbox"), "s3://talks/2026"),
    )
    assert tokens.of_secret(store, secret[:-1]) is None
    assert tokens.of_secret(store, "") is None


def test_tokens_are_listed_without_their_secrets_and_hold_until_they_are_revoked(store: Database, cli: Cli) -> None:
    secret = cli("token", "create", "hr", "--role", "reader").out.strip()
    assert tokens.of_secret(store, secret)
    found = cli("token", "list", "--json").json
    conforms(found, "token-list")
    assert [(one["name"], one["role"], one["folders"]) for one in found["tokens"]] == [("hr", "reader", [])]
    assert secret not in cli("token", "list").out
    conforms(cli("token", "revoke", "hr", "--json").json, "token-revoke")
    assert tokens.of_secret(store, secret) is None
    assert "no tokens yet" in cli("token", "list").out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("create", "hr", "--role", "reader"), "there is a token hr already"),
        (("create", "h r", "--role", "reader"), "is not a name for a token"),
        (("revoke", "nobody"), "there is no token nobody"),
    ],
)
def test_a_name_that_is_taken_does_not_fit_or_is_not_there_is_refused(
    store: Database, cli: Cli, arguments: tuple[str, ...], said: str
) -> None:
    cli("token", "create", "hr", "--role", "reader")
    ended = cli("token", *arguments)
    assert ended.code == 2
    assert said in ended.err
