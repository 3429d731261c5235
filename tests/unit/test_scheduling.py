"""Which tests run in one process."""

from __future__ import annotations

from tests.documents import REPOSITORY
from tests.scheduling import WAITING, WHOLE, fitting, unit


def test_tests_of_a_file_that_is_whole_are_handed_out_together() -> None:
    first, second = (f"tests/integration/test_whisper.py::test_{name}" for name in ("a", "b[c::d]"))
    assert unit(first) == unit(second)
    assert unit("tests/gpu/test_engine.py::test_a") == unit("tests/gpu/test_memory.py::test_a")


def test_all_others_are_handed_out_one_by_one() -> None:
    first, second = (f"tests/integration/test_store_claims.py::test_{name}" for name in ("a", "b"))
    assert len({unit(first), unit(second), "tests/integration/test_store_claims.py"}) == 3


def test_no_file_of_tests_in_a_browser_is_handed_out_one_by_one_as_each_process_would_start_one() -> None:
    files = [
        path for path in (REPOSITORY / "tests" / "integration").glob("test_*.py") if ": Chrome" in path.read_text()
    ]
    assert files
    assert [path.name for path in files if str(path.relative_to(REPOSITORY)) not in WHOLE] == []


def test_every_file_that_is_whole_is_there() -> None:
    assert [path for path in WHOLE if not (REPOSITORY / path).exists()] == []


def test_a_process_that_is_to_wait_is_given_what_waits_and_another_what_computes_as_long_as_there_is_any() -> None:
    queue = ["quantize", "tests/e2e/test_drain.py", "tests/faults/test_a.py::test_a", "tests/unit/test_b.py::test_b"]
    assert (fitting(queue, waits=False), fitting(queue, waits=True)) == (queue[0], queue[1])
    assert (fitting(queue[2:], waits=False), fitting(queue[2:], waits=True)) == (queue[3], queue[2])
    assert (fitting(queue[3:], waits=True), fitting(queue[1:3], waits=False)) == (queue[3], queue[1])


def test_every_folder_of_tests_that_wait_is_there() -> None:
    assert [folder for folder in WAITING if not (REPOSITORY / folder).is_dir()] == []
