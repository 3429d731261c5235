"""The error tree is drawn as it is."""

from __future__ import annotations

import inspect
import re

from dropscribe.core import errors
from dropscribe.core.errors import DropscribeError, UsageError


def test_the_tree_in_the_docstring_names_every_class_under_its_parent() -> None:
    drawn: dict[str, str] = {}
    path: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        if found := re.match(r"([\s|`-]*)(\w+Error)\b", line):
            depth, name = len(found[1]), found[2]
            path = [(d, n) for d, n in path if d < depth]
            drawn[name] = path[-1][1] if path else "Exception"
            path.append((depth, name))
    classes = {n: c for n, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, DropscribeError)}
    assert drawn == {name: kind.__bases__[0].__name__ for name, kind in classes.items()}


def test_usage_errors_exit_with_2_and_all_others_do_not() -> None:
    assert UsageError.exit_code == 2
    assert errors.JobNotFoundError.exit_code == 1
    assert errors.ModelFatalError.exit_code == 70
    assert DropscribeError.exit_code == 1
