"""The model workers of `up`: several models side by side, and what becomes of work whose model cannot live here."""

from __future__ import annotations

import socket
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from dropscribe.admin.local.model_workers import ModelWorkers
from dropscribe.admin.local.supervisor import Child, GaveUpError, Supervisor
from dropscribe.admin.local.up import System
from dropscribe.admin.state import fleet_status
from dropscribe.admin.state.report import TextReport
from dropscribe.core import gpus
from dropscribe.core.errors import SettingsError
from dropscribe.core.nvidia_smi import MIB
from dropscribe.core.routing import ResidentModel
from dropscribe.core.settings import Settings
from dropscribe.core.settings_loading import load
from dropscribe.core.types import EngineInfo, JobState
from dropscribe.models import registry
from dropscribe.models.gpu import cublas
from dropscribe.models.whisper import memory_budget as whisper_budget
from dropscribe.store import chunks, fleet, queries
from dropscribe.store.session import Database, open_database
from tests import nvidia_smi
from tests.integration.store_steps import LEASE, admit, prepare, state

HOST = socket.gethostname()
SMALL = EngineInfo("whisper", "Systran/faster-whisper-small", "int8")
BASE = EngineInfo("whisper", "Systran/faster-whisper-base", "int8")


class Planned(Supervisor):
    """Takes children on and starts no process."""

    def _spawn(self, child: Child) -> None:
        pass


@pytest.fixture
def supervisor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Planned:
    """On a machine with a card that holds VibeVoice-ASR."""
    nvidia_smi.install_listing(tmp_path, ("NVIDIA L4", 23_034))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(gpus.VARIABLE, raising=False)
    monkeypatch.setattr(gpus, "DRIVER", tmp_path / "version")
    return Planned(tmp_path, {}, lambda _: True)


def started(supervisor: Planned, said: list[str], **settings: object) -> ModelWorkers:
    chosen = load({}, overrides=settings)
    workers = ModelWorkers(chosen, registry.choose_all(chosen), said.append)
    workers.start(supervisor)
    return workers


def give_up(child: Child) -> GaveUpError:
    child.ended = True
    return GaveUpError(child, f"{child.name} ends as soon as it starts: no CUDA", remedy="its log is there")


def test_each_of_several_models_gets_workers_of_its_own(supervisor: Planned) -> None:
    workers = started(supervisor, [], engines="vibevoice,whisper:small,scripted")
    named = [tuple(child.arguments) for child in workers.children]
    assert named == [
        ("model", f"{HOST}-model-0", "vibevoice", "microsoft/VibeVoice-ASR-HF", "GPU-0"),
        ("model", f"{HOST}-model2", "whisper", "small"),
        ("model", f"{HOST}-model3", "scripted", ""),
    ]


@pytest.fixture
def with_cublas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cublas, "LIBRARY", "libc.so.6")


@pytest.mark.usefixtures("with_cublas")
def test_models_that_share_a_card_are_given_room_before_they_are_started(supervisor: Planned) -> None:
    said: list[str] = []
    first, second = started(supervisor, said, engines="vibevoice,whisper:small").children
    assert (first.arguments[2:], second.arguments[2:]) == (
        ("vibevoice", "microsoft/VibeVoice-ASR-HF", "GPU-0"), ("whisper", "small", "GPU-0")
    )  # fmt: skip
    assert said == ["GPU 0 (NVIDIA L4) has room for vibevoice (up to 94.4% of it) and whisper:small"]
    small = whisper_budget.taken(483_546_902, "float16", 1)
    share = float(first.environment["DROPSCRIBE_GPU_SHARE"])
    assert share == 0.944 < 1 - small / (23_034 * MIB) < 0.946, "rounded down"
    assert second.environment == {}


@pytest.mark.usefixtures("with_cublas")
def test_a_model_that_has_no_room_beside_the_others_is_not_started_and_that_is_said(
    tmp_path: Path, supervisor: Planned
) -> None:
    nvidia_smi.install_listing(tmp_path, ("NVIDIA RTX 3060", 12_288), ("NVIDIA L4", 23_034))
    said: list[str] = []
    children = started(supervisor, said, engines="vibevoice,whisper:large-v3,scripted").children
    assert [(child.arguments[2], *child.arguments[4:]) for child in children] == [
        ("vibevoice", "GPU-0"), ("vibevoice", "GPU-1"), ("whisper", "GPU-1"), ("scripted",)
    ]  # fmt: skip
    (alone, refused, both) = said
    assert alone.startswith("GPU 0 (NVIDIA RTX 3060) has room for vibevoice (up to 100.0% of it)")
    assert refused.startswith(
        "whisper:large-v3 is not started on GPU 0 (NVIDIA RTX 3060): it takes at least 4.7 GB of it,"
    )
    assert "GB are left (gpu_share = 1); recordings that ask for it wait" in refused
    assert both.startswith("GPU 1 (NVIDIA L4) has room for vibevoice (up to 80")


@pytest.mark.usefixtures("with_cublas")
def test_of_a_card_that_does_not_tell_its_memory_nothing_is_planned(tmp_path: Path, supervisor: Planned) -> None:
    nvidia_smi.install_listing(tmp_path, ("NVIDIA GB10", "[N/A]"))
    children = started(supervisor, [], engines="whisper:turbo,whisper:small").children
    assert [(child.arguments[3:], child.environment) for child in children] == [
        (("turbo", "GPU-0"), {}), (("small", "GPU-0"), {})
    ]  # fmt: skip


def test_an_engine_that_there_is_not_is_refused_in_the_list_too() -> None:
    with pytest.raises(SettingsError, match="wisper"):
        load({}, overrides={"engines": "vibevoice,wisper:small"})
    assert load({}, overrides={"engines": "whisper:small"}).engines == ("whisper:small",)


def test_where_auto_chose_a_model_that_cannot_live_the_next_one_takes_its_place_on_the_cpu(
    supervisor: Planned,
) -> None:
    said: list[str] = []
    workers = started(supervisor, said)
    (first,) = workers.children
    assert first.arguments[2] == "vibevoice"
    workers.go_on_without(supervisor, give_up(first))
    (second,) = workers.living
    assert (second.arguments[1:], second.environment) == (
        (f"{HOST}-model-cpu", "whisper", "base"), {gpus.VARIABLE: ""}
    )  # fmt: skip
    assert "no CUDA" in said[-1]
    assert "Instead: Whisper base on the CPU" in said[-1]
    with pytest.raises(GaveUpError):
        workers.go_on_without(supervisor, give_up(second))


@pytest.mark.parametrize(
    "settings",
    [{"engine": "vibevoice"}, {"model": "microsoft/VibeVoice-ASR-HF"}, {"database_url": "postgresql://db/x"}],
)
def test_what_somebody_named_and_what_is_part_of_a_fleet_has_no_substitute(
    supervisor: Planned, settings: dict[str, str]
) -> None:
    workers = started(supervisor, [], **settings)
    with pytest.raises(GaveUpError):
        workers.go_on_without(supervisor, give_up(workers.children[0]))
    assert workers.living == []


def test_of_several_models_the_others_go_on(supervisor: Planned) -> None:
    said: list[str] = []
    workers = started(supervisor, said, engines="vibevoice,whisper:small")
    workers.go_on_without(supervisor, give_up(workers.children[0]))
    assert [child.arguments[2] for child in workers.living] == ["whisper"]
    assert "The other model workers go on without it" in said[-1]
    cpu = Child(f"{HOST}-cpu", ("cpu",))
    with pytest.raises(GaveUpError):
        workers.go_on_without(supervisor, give_up(cpu))


def test_one_machine_begins_anew_what_waits_for_a_model_that_it_no_longer_runs(
    tmp_path: Path, supervisor: Planned, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = load({}, overrides={"home": tmp_path, "engine": "whisper", "model": "small"})
    store = open_database(settings.database)
    system = System(settings, store, registry.choose_all(settings), [], threading.Event(), TextReport())
    system.models.start(supervisor)
    begun, other = admit(store, "a.wav"), admit(store, "b.wav")
    for job_id, info in ((begun, BASE), (other, SMALL)):
        (chunk_id,) = prepare(store, job_id)
        assert chunks.claim(store, chunk_id, "earlier", LEASE, ResidentModel.of(info))
    system._begin_stranded_anew(fleet_status.gather(store, settings))
    assert state(store, begun) is JobState.TRANSCRIBING, "no worker is ready yet"
    join(store, SMALL, name="somebody else's")
    system._begin_stranded_anew(fleet_status.gather(store, settings))
    assert state(store, begun) is JobState.TRANSCRIBING, "our own worker is not ready yet"
    (ours,) = system.models.living
    join(store, SMALL, name=ours.name)
    system._begin_stranded_anew(fleet_status.gather(store, settings))
    assert [state(store, job_id) for job_id in (begun, other)] == [JobState.QUEUED, JobState.TRANSCRIBING]
    assert queries.job(store, begun).model_queue == "model"
    shown = " ".join("".join(capsys.readouterr()).split())
    assert "a.wav was begun by the model faster-whisper-base in int8 (whisper), which does not run now" in shown
    store.close()


def test_in_a_fleet_nothing_is_begun_anew_by_itself(database: Database, tmp_path: Path, supervisor: Planned) -> None:
    if database.is_sqlite:
        settings = Settings(home=tmp_path, database_url="postgresql://db/x")
    else:
        settings = Settings(home=tmp_path, database_url="postgresql://db/x", engine="scripted")
    system = System(settings, database, registry.choose_all(settings), [], threading.Event(), TextReport())
    (chunk_id,) = prepare(database, admit(database))
    assert chunks.claim(database, chunk_id, "earlier", LEASE, ResidentModel.of(BASE))
    join(database, SMALL)
    system._begin_stranded_anew(fleet_status.gather(database, settings))
    assert queries.list_jobs(database)[0].state is JobState.TRANSCRIBING


def join(store: Database, info: EngineInfo, name: str = "now") -> None:
    fleet.register(store, name, host=HOST, pid=1, role="model", state="ready")
    fleet.heartbeat(store, name, engine=replace(info, slots=1))
