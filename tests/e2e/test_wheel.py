"""The wheel, installed in a fresh environment, beside a project that has a core, a models and an admin of its own."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

from tests.documents import REPOSITORY
from tests.e2e.harness import Machine, speech

OWN = ("admin", "core", "models", "scheduler", "store", "worker")
ASK = """
import admin, core, models, scheduler, store, worker
from dropscribe import Client, Transcript
assert all(one.WHOSE == "theirs" for one in (admin, core, models, scheduler, store, worker))
print(Client.__module__, Transcript.__module__)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    (built,) = WheelBuilder(str(REPOSITORY)).build(directory=str(folder), versions=["standard"])
    return Path(built)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that has the wheel; what it depends on is lent by the one that runs the tests."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--no-deps", "--no-index", wheel], check=True)
    (site,) = (folder / "lib").glob("python*/site-packages")
    # A path line, unlike a site directory, leads to no editable install.
    (site / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with packages of our old names."""
    for name in OWN:
        (tmp_path / "project" / name).mkdir(parents=True)
        (tmp_path / "project" / name / "__init__.py").write_text('WHOSE = "theirs"\n')
    return tmp_path / "project"


def test_the_wheel_holds_one_package_and_no_links(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.partition("/")[0] for name in names} == {"dropscribe", "dropscribe-0.1.0.dist-info"}
    assert {"dropscribe/core/types.py", "dropscribe/store/migrations/env.py"} <= set(names)
    assert {"dropscribe/serve/pages/templates/base.html", "dropscribe/serve/pages/static/page.js"} <= set(names)
    assert {"dropscribe/worker/outputs/page/page.html", "dropscribe/scheduler/duties/page/body.html"} <= set(names)


def test_the_wheel_of_the_source_distribution_is_the_same(wheel: Path, tmp_path: Path) -> None:
    (built,) = SdistBuilder(str(REPOSITORY)).build(directory=str(tmp_path), versions=["standard"])
    with tarfile.open(built) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.glob("dropscribe-*/")
    (again,) = WheelBuilder(str(source)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(wheel) as first, zipfile.ZipFile(again) as second:
        assert sorted(first.namelist()) == sorted(second.namelist())


def test_other_peoples_packages_of_the_same_names_stay_theirs(installed: Path, project: Path) -> None:
    ended = subprocess.run([installed, "-c", ASK], cwd=project, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == "dropscribe.admin.client dropscribe.core.types\n"


def test_the_installed_command_transcribes_from_such_a_folder(installed: Path, project: Path, tmp_path: Path) -> None:
    assert Path(sys.executable) != installed
    machine = Machine(tmp_path / "machine")
    speech(machine.inbox / "talk.wav")
    command = [installed.with_name("dropscribe"), "up", machine.inbox, "--drain"]
    ended = subprocess.run(
        command, cwd=project, env=machine.environment, capture_output=True, text=True, timeout=200, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    machine.assert_whole("talk.wav")
    machine.close()
