"""What the documents say of bitsandbytes is what the installed wheel does: which binary it takes for which CUDA."""

from __future__ import annotations

import logging
import re
from importlib.metadata import version

import pytest
from bitsandbytes.cextension import get_available_cuda_binary_versions, get_cuda_bnb_library_path
from bitsandbytes.cuda_specs import CUDASpecs

from dropscribe.models.gpu.compatibility import OLDEST_DRIVERS
from tests.documents import REPOSITORY

TEXT = (REPOSITORY / "docs" / "models.md").read_text(encoding="utf-8")
(TABLE,) = re.findall(r"<!-- cuda: begin .*? -->\n(.*?)<!-- cuda: end -->", TEXT, re.DOTALL)
ROWS = re.findall(r"^\| (\d+\.\d+) \| (\d+\.\d+) \|", TABLE, re.MULTILINE)
DRIVERS = re.findall(r"^\| (\d+)\.\d+ \|.*\| (\d+) \|$", TABLE, re.MULTILINE)


def taken(cuda: str) -> str:
    """The CUDA version of the binary that is taken for this one; empty where it has none."""
    numbers = tuple(map(int, cuda.split(".")))
    library = get_cuda_bnb_library_path(CUDASpecs((9, 0), cuda.replace(".", ""), numbers))
    (major, minor) = re.fullmatch(r"libbitsandbytes_cuda(\d\d)(\d)", library.stem).groups()
    return f"{major}.{minor}" if library.exists() else ""


def test_the_table_has_every_binary_of_the_wheel_and_no_other() -> None:
    assert [binary for _, binary in ROWS] == sorted(get_available_cuda_binary_versions(), key=float)
    assert f"bitsandbytes {version('bitsandbytes')}" in TEXT


def test_the_drivers_of_the_table_are_those_that_a_worker_insists_on() -> None:
    assert len(DRIVERS) == len(ROWS)
    assert {int(cuda): int(driver) for cuda, driver in DRIVERS} == OLDEST_DRIVERS


@pytest.mark.parametrize(
    ("cuda", "binary"), [*ROWS, ("12.9", "12.8"), ("13.1", "13.0"), ("12.0", "12.1"), ("14.0", "")]
)
def test_the_wheel_takes_the_binary_that_is_told(cuda: str, binary: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.CRITICAL, "bitsandbytes"):
        assert taken(cuda) == binary
