"""A worker whose tasks are called by hand, and a recording for it; the command line in this process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from huggingface_hub import constants

from dropscribe.admin.cli.main import main
from dropscribe.admin.context import Context
from dropscribe.core.queue import Doorbell, redis_url
from dropscribe.core.settings import Settings
from dropscribe.models.scripted.transcriber import Script, Scripted
from dropscribe.scheduler.watching import admission
from dropscribe.scheduler.watching.file_events import FileEventWatcher
from dropscribe.scheduler.watching.root_watch import RootWatch
from dropscribe.serve.gate import Gate
from dropscribe.store import jobs
from dropscribe.store.session import Database
from dropscribe.worker.runtime.context import CircuitBreaker, WorkerContext
from dropscribe.worker.runtime.counters import Counters
from dropscribe.worker.runtime.encoder_loader import EncoderLoader
from dropscribe.worker.runtime.lease import LeaseKeeper
from tests.e2e.harness import speech, wait_until
from tests.integration import serving
from tests.integration.console import Cli, Ended
from tests.integration.one_worker import MakeContext, die
from tests.media_files import shared_zygote
from tests.tones import ToneEncoder


@pytest.fixture
def doorbell(settings: Settings) -> Iterator[Doorbell]:
    """The way to the workers, on the private Redis."""
    made = Doorbell(settings)
    yield made
    made.close()


@pytest.fixture
def own(settings: Settings, tmp_path: Path) -> Settings:
    """A server's settings: a home of its own, and a Redis that is not there."""
    return settings.model_copy(update={"home": tmp_path / "home", "redis_url": "unix:///nowhere/redis.sock"})


@pytest.fixture
def made(database: Database, own: Settings) -> Iterator[Gate]:
    """The server in this process."""
    with serving.gate(database, own) as found:
        yield found


@pytest.fixture
def make_context(database: Database, settings: Settings, doorbell: Doorbell, tmp_path: Path) -> Iterator[MakeContext]:
    """A worker of both roles, with a script for its model."""
    keepers: list[LeaseKeeper] = []
    own = settings.model_copy(update={"spool": tmp_path / "spool"})

    def make(script: Script | None = None, encoder: EncoderLoader | None = None, **changes: object) -> WorkerContext:
        keepers.append(LeaseKeeper(database, lease=60, renew=1, beat=lambda: None))
        keepers[-1].start()
        model = Scripted(script or Script())
        changed = own.model_copy(update=changes)
        fitness = CircuitBreaker(changed.circuit_breaker_failures)
        voices = encoder or _loaded(EncoderLoader(ToneEncoder, lambda: None))
        keeper = keepers[-1]
        mine = (keeper, "worker", model, Counters(), fitness, die, voices)
        return WorkerContext(changed, database, doorbell, *mine, zygote=shared_zygote())

    yield make
    for keeper in keepers:
        keeper.end()


def _loaded(loader: EncoderLoader) -> EncoderLoader:
    loader.start()
    wait_until("the encoder", lambda: loader.encoder)
    return loader


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    (tmp_path / "inbox").mkdir()
    return speech(tmp_path / "inbox" / "talk.wav")


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings but an empty home, and wide tables."""
    for variable in [name for name in os.environ if name.startswith("DROPSCRIBE_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("DROPSCRIBE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def elsewhere(environment: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No checkpoints but those that a test brings, here and in child processes."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "huggingface"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "huggingface" / "hub"))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small VibeVoice-ASR with random weights."""
    from tests.tiny.checkpoint import random_checkpoint

    return random_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """So small a model as the tests have is only slowed down by more."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def cli(environment: None, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run a command in this process."""

    def call(*arguments: str) -> Ended:
        capsys.readouterr()
        code = main(arguments, Context())
        out, err = capsys.readouterr()
        return Ended(code, out, err)

    return call


@pytest.fixture
def store(environment: None, database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Database:
    """The store that the command line is told to use."""
    monkeypatch.setenv("DROPSCRIBE_DATABASE_URL", database_url)
    return database


@pytest.fixture
def redis(environment: None, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> str:
    """A private Redis that the command line is told to use."""
    url = redis_url(settings)
    monkeypatch.setenv("DROPSCRIBE_REDIS_URL", url)
    return url


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    """A folder to be watched, with another one in it."""
    made = tmp_path.resolve() / "inbox"
    (made / "talks").mkdir(parents=True)
    return made


@pytest.fixture
def watch(database: Database, settings: Settings, doorbell: Doorbell, inbox: Path) -> Iterator[RootWatch]:
    """The scheduler's part that looks after it, with no thread of its own."""
    admit = partial(_admit, database, doorbell)
    watched = RootWatch(inbox, settings, FileEventWatcher(), partial(jobs.known, database), admit, frozenset())
    yield watched
    watched.close()


def _admit(database: Database, doorbell: Doorbell, root: str, whole: list, gone: set, folders) -> dict:
    return admission.admit(database, doorbell, folders, root, whole, gone).refused
