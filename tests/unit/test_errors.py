"""The error tree is drawn as it is."""

from __future__ import annotations

import copy
import inspect
import multiprocessing
import pickle
import re
from concurrent.futures import ProcessPoolExecutor

import pytest
from celery.utils.serialization import get_pickleable_exception

from dropscribe.core import errors, passwords
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


def test_the_message_is_the_problem_and_what_to_do_which_can_be_asked_for_apart() -> None:
    error = errors.StoreError("cannot create /srv/a; b: no such folder", remedy="set DROPSCRIBE_HOME; then start it")
    assert str(error) == "cannot create /srv/a; b: no such folder; set DROPSCRIBE_HOME; then start it"
    assert error.problem == "cannot create /srv/a; b: no such folder"
    assert error.remedy == "set DROPSCRIBE_HOME; then start it"
    assert str(errors.StoreError("it is over")) == "it is over"


def test_no_part_of_an_error_for_programs_holds_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "_known", {"s3cret!": None})
    error = errors.StoreError("no s3cret!", remedy="try s3cret! again")
    assert error.document == {"code": "store", "message": "no ***; try *** again", "remedy": "try *** again"}


KINDS = [one for _, one in inspect.getmembers(errors, inspect.isclass) if issubclass(one, DropscribeError)]


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_comes_out_of_another_process_or_of_celery_as_it_was(kind: type[DropscribeError]) -> None:
    error = kind("cannot read a; b", remedy="fix it")
    for same in (pickle.loads(pickle.dumps(error)), copy.copy(error), get_pickleable_exception(error)):
        assert type(same) is kind
        assert (same.problem, same.remedy, str(same)) == (error.problem, error.remedy, str(error))


def test_an_error_that_a_child_process_raises_keeps_what_to_do() -> None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        error = pool.submit(_refuse).exception()
    assert isinstance(error, errors.OutputError)
    assert (error.problem, error.remedy) == ("no; never", "ask again")


def _refuse() -> None:
    raise errors.OutputError("no; never", remedy="ask again")
