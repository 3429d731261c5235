"""A name means one thing: no two public classes of the project are called the same."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator

from tests.documents import REPOSITORY

PACKAGES = ("core", "store", "scheduler", "worker", "models", "admin", "serve")


def classes() -> Iterator[tuple[str, str]]:
    """The name of every public class at the top of a module, and that module."""
    for package in PACKAGES:
        for path in sorted((REPOSITORY / package).rglob("*.py")):
            module = path.relative_to(REPOSITORY)
            if "migrations" in module.parts:
                continue
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    yield node.name, str(module)


def test_no_two_public_classes_have_the_same_name() -> None:
    modules = defaultdict(list)
    for name, module in classes():
        modules[name].append(module)
    assert len(modules) > 100, "no classes were found"
    assert {name: found for name, found in modules.items() if len(found) > 1} == {}
