"""What tests share: a store on SQLite and on a private PostgreSQL, a private Redis.

A server that is not installed skips its tests on a developer's machine and fails them where CI is set.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import psutil
import pytest
import redis
from xdist.remote import Producer

from dropscribe.admin.local import private_redis
from dropscribe.core import passwords, queue, start_up
from dropscribe.core.errors import BrokerError
from dropscribe.core.settings import Settings
from dropscribe.core.settings_loading import load
from dropscribe.core.zygote import Zygote
from dropscribe.models.checkpoints.known import SPEAKER_ENCODER
from dropscribe.models.speakers.encoder import SpeakerEncoder
from dropscribe.store.session import Database, open_database
from tests import browsers, servers
from tests.scheduling import Scheduler
from tests.stores import PostgreSQLStore, SQLiteTemplate

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

AUDIO = Path(__file__).parents[2] / "shared" / "audio"
SAMPLES = Path(__file__).parents[1] / "samples"
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


# Property tests take the first; `--hypothesis-profile=night` takes new examples each time, and more of them.
hypothesis.settings.register_profile("ci", derandomize=True, max_examples=30, deadline=None)
hypothesis.settings.register_profile("night", derandomize=False, max_examples=300, deadline=None, print_blob=True)


def pytest_configure(config: pytest.Config) -> None:
    """Let neither a terminal nor an environment decide what tests see, nor a busy machine whether they pass."""
    os.environ.pop("COLUMNS", None)  # tables are as wide as in a pipe; pytest-xdist sets it
    # Thousands of processes are started: each would compile every module again, and as many threads as there are cores
    # get into each other's way in models as small as those of tests.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ.update(dict.fromkeys(ONE_THREAD, "1"))
    if not config.getoption("--hypothesis-profile"):
        hypothesis.settings.load_profile("ci")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Import the tests, and torch with them, without looking for garbage in them, now and after each test."""
    with start_up.without_collection():
        return (yield)


def pytest_xdist_auto_num_workers() -> int | None:
    """Two processes more than there are cores, since end-to-end tests mostly wait; each takes up to 2.5 GB."""
    if os.environ.get("PYTEST_XDIST_AUTO_NUM_WORKERS"):
        return None  # pytest-xdist takes that
    usable = len(os.sched_getaffinity(0))
    return min(usable, psutil.cpu_count(logical=False) or usable) + 2


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduler:
    """Test by test to a process that is free, but files whose fixtures take long whole."""
    return Scheduler(config, log)


def missing(what: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(f"{what} is not installed, and CI must not skip its tests")
    pytest.skip(f"{what} is not installed")


@pytest.fixture(scope="module", params=["program", "zygote"])
def zygote(request: pytest.FixtureRequest) -> Iterator[Zygote | None]:
    """Both ways in which a decoder comes to be: None where it is started as a program."""
    from dropscribe.worker.preparing import decode

    made = decode.new_zygote() if request.param == "zygote" else None
    yield made
    if made:
        made.close()


@pytest.fixture(scope="session")
def audio() -> Path:
    """The folder of real recordings that lies beside the repository on some machines."""
    if not AUDIO.is_dir():
        pytest.skip("the real recordings are not on this machine")
    return AUDIO


def fetched(name: str) -> Path:
    """What HF_HOME is to be for a known checkpoint, fetched once for each machine and kept between runs."""
    place = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "dropscribe-tests"
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_CACHE"}
    fetch = [sys.executable, "-m", "dropscribe", "models", "fetch", name]
    ran = subprocess.run(fetch, env=environment | {"HF_HOME": str(place)}, capture_output=True, text=True, check=False)
    if ran.returncode:
        missing(f"{name} ({ran.stderr.strip()})")
    return place


@pytest.fixture(scope="session")
def whisper_base() -> Path:
    """What HF_HOME is to be for the real Whisper base."""
    return fetched("base")


@pytest.fixture(scope="session")
def speaker_weights() -> Path:
    """What HF_HOME is to be for the real speaker encoder, the same folder as for Whisper base."""
    return fetched(SPEAKER_ENCODER.name)


@pytest.fixture(scope="session")
def speaker_encoder(speaker_weights: Path) -> SpeakerEncoder:
    """The real speaker encoder in memory."""
    repository = speaker_weights / "hub" / f"models--{SPEAKER_ENCODER.id.replace('/', '--')}"
    weights = repository / "snapshots" / SPEAKER_ENCODER.revision / SPEAKER_ENCODER.files[0].name
    return SpeakerEncoder(weights, "campplus")


@pytest.fixture(scope="session")
def traced_once() -> Iterator[None]:
    """Exports of the same checkpoint trace its speech encoder once for each number format."""
    from dropscribe.models.onnx import graphs
    from tests.traces import remembered

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graphs, "_encoder", remembered(graphs._encoder))
        yield


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """URL of a private PostgreSQL server on a unix socket."""
    programs = servers.find_postgresql()
    if programs is None:
        missing("PostgreSQL")
    with servers.private_postgresql(programs) as url:
        yield url


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> SQLiteTemplate:
    """A migrated store on SQLite, to be copied."""
    return SQLiteTemplate(tmp_path_factory.mktemp("template"))


@pytest.fixture(scope="session")
def postgresql_store(postgresql: str) -> Iterator[PostgreSQLStore]:
    """The private PostgreSQL's database, to be emptied."""
    store = PostgreSQLStore(postgresql)
    yield store
    store.close()


@pytest.fixture
def sqlite_url(tmp_path: Path, sqlite_template: SQLiteTemplate) -> str:
    """A migrated store on SQLite, for modules whose `database_url` is that alone."""
    path = tmp_path / "state" / "dropscribe.db"
    sqlite_template.copy_to(path)
    return f"sqlite:///{path}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A store on each kind of database: an empty one, or a migrated one for a test that asks for `database` too."""
    migrated = "database" in request.fixturenames
    if request.param == "postgresql":
        store: PostgreSQLStore = request.getfixturevalue("postgresql_store")
        store.renew() if migrated else store.empty()
        return str(request.getfixturevalue("postgresql"))
    if migrated:
        return str(request.getfixturevalue("sqlite_url"))
    return f"sqlite:///{tmp_path}/state/dropscribe.db"


@pytest.fixture(autouse=True)
def no_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one test's settings hold of passwords is not struck from the messages of the next."""
    monkeypatch.setattr(passwords, "_known", {})


@pytest.fixture(autouse=True)
def _umask() -> Iterator[None]:
    """Files of a test have the usual modes, though daemons that an earlier one ran in this process close theirs."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A migrated store on each kind of database."""
    opened = open_database(database_url, where="test")
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def redis_home() -> Iterator[Path]:
    """The home of a private Redis: settings with this home reach it by its socket."""
    home = Path(tempfile.mkdtemp(prefix="redis-", dir="/tmp"))
    settings = load({"DROPSCRIBE_HOME": str(home)})
    try:
        command = private_redis.server_command(settings)
    except BrokerError:
        missing("Redis")
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        private_redis.wait_until_up(settings)
        yield home
        server.terminate()
    shutil.rmtree(home)


@pytest.fixture
def settings(redis_home: Path) -> Settings:
    """Settings that reach the private Redis, emptied."""
    own = {"HOME": str(redis_home), "ENGINE": "scripted", "SPEECH_DETECTOR": "energy", "SPEAKER_ENCODER": "none"}
    found = load({f"DROPSCRIBE_{name}": value for name, value in own.items()})
    with redis.Redis.from_url(queue.redis_url(found)) as client:
        client.flushall()
    return found


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A filesystem of 2 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk]
    if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a filesystem")
    yield disk
    subprocess.run(["umount", disk], check=True)


@pytest.fixture
def browser(chromium: Chrome) -> Iterator[Chrome]:
    """Chromium with a tab that has seen nothing yet: pages of tests before complain no more."""
    first = chromium.current_window_handle
    chromium.switch_to.new_window("tab")
    chromium.get_log("browser")
    yield chromium
    chromium.close()
    chromium.switch_to.window(first)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Chrome]:
    """Chromium without a window."""
    with ExitStack() as stack:
        try:
            chrome = stack.enter_context(browsers.chromium())
        except FileNotFoundError as error:
            missing(str(error))
        yield chrome
