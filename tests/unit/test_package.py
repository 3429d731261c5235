"""`import dropscribe`: its public names, and what importing them costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

import dropscribe

HEAVY = {"alembic", "av", "celery", "ctranslate2", "kombu", "numpy", "redis", "rich", "soundfile", "torch", "typer"}


def modules_after(code: str) -> set[str]:
    """The packages that are loaded once a fresh Python has run the code."""
    ask = f"{code}\nimport sys; print(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in ended.stdout.split()}


def test_the_public_names_are_sorted_and_all_there() -> None:
    assert dropscribe.__all__ == sorted(dropscribe.__all__)
    assert dir(dropscribe) == dropscribe.__all__
    for name in dropscribe.__all__:
        assert getattr(dropscribe, name).__name__ == name


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Clint'"):
        _ = dropscribe.Clint


def test_the_client_is_imported_without_audio_and_celery() -> None:
    assert not modules_after("from dropscribe import Client") & HEAVY


def test_the_package_alone_imports_nothing() -> None:
    assert not modules_after("import dropscribe") & (HEAVY | {"pydantic", "sqlalchemy"})
