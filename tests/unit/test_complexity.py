"""No function of the product has more than 12 paths, counted as ruff's C901 does not: with those in expressions."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.documents import REPOSITORY

MAX_PATHS = 12
PACKAGES = ("core", "store", "scheduler", "worker", "models", "admin", "serve")
BRANCHES = (ast.If, ast.IfExp, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.Assert, ast.match_case)
SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)  # which are counted by themselves, or not


def paths(node: ast.AST) -> int:
    """Branches below a node, each `if` of a comprehension and each `and` and `or` among them."""
    return sum(_own(child) + paths(child) for child in ast.iter_child_nodes(node) if not isinstance(child, SCOPES))


def _own(node: ast.AST) -> int:
    if isinstance(node, ast.comprehension):
        return 1 + len(node.ifs)
    if isinstance(node, ast.BoolOp):
        return len(node.values) - 1
    return int(isinstance(node, BRANCHES))


def too_many(path: Path) -> Iterator[str]:
    """The functions of a module with more paths than allowed, and how many those are."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and 1 + paths(node) > MAX_PATHS:
            yield f"{path.relative_to(REPOSITORY)}:{node.lineno} {node.name} has {1 + paths(node)}"


@pytest.mark.parametrize("package", PACKAGES)
def test_no_function_has_more_than_twelve_paths(package: str) -> None:
    modules = (path for path in (REPOSITORY / package).rglob("*.py") if "migrations" not in path.parts)
    assert [found for path in modules for found in too_many(path)] == []


def test_paths_in_expressions_count() -> None:
    function = ast.parse("def f(a):\n  if a and a > 1:\n    return [b for b in a if b or a]\n  return 1 if a else 2")
    assert 1 + paths(function.body[0]) == 7
