"""`up` over what is no folder, and what it says when it is stopped."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
import typer

from dropscribe.admin.local import up
from dropscribe.admin.local.supervisor import GaveUpError
from dropscribe.admin.local.up import Expected, System
from dropscribe.admin.state import fleet_status
from dropscribe.admin.state.report import JsonReport
from dropscribe.core.errors import DropscribeError, UsageError
from dropscribe.core.job_overrides import JobOverrides
from dropscribe.core.settings_loading import load
from dropscribe.models import registry
from dropscribe.store import chunks, fleet, jobs
from dropscribe.store.jobs import NewJob
from dropscribe.store.session import open_database
from tests.integration.console import process
from tests.integration.store_steps import ENGINE, LEASE, admit, prepare, read

pytestmark = pytest.mark.usefixtures("environment")


@pytest.mark.parametrize("options", [(), ("--drain",), ("--drain", "--wait-for-folders")])
def test_a_folder_that_does_not_exist_stops_up_where_nobody_can_be_asked(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    ended = process("up", str(tmp_path / "my recordings"), *options)
    assert (ended.code, ended.out) == (2, "")
    assert f"my recordings does not exist; create it (mkdir -p '{tmp_path}/my recordings')" in ended.err
    assert "with --wait-for-folders, `up` waits for it as `dropscribe watch` does" in ended.err
    assert not (tmp_path / "home").exists()


def test_a_file_is_no_folder_and_is_offered_to_submit(tmp_path: Path) -> None:
    (tmp_path / "talk.wav").write_bytes(b"sound")
    ended = process("up", str(tmp_path / "talk.wav"))
    assert ended.code == 2
    assert f"(dropscribe up {tmp_path})" in ended.err
    assert f"(dropscribe submit {tmp_path}/talk.wav --wait)" in ended.err


@pytest.mark.parametrize("wanted", [True, False])
def test_on_a_terminal_somebody_is_asked_whether_to_create_it(
    wanted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def confirm(question: str, *, err: bool) -> bool:
        asked.append(question)
        return wanted and err

    monkeypatch.setattr(typer, "confirm", confirm)
    settings = load({}, overrides={"home": tmp_path / "home", "engine": "scripted"})
    folder, expected = tmp_path / "a" / "b", Expected(may_ask=True)
    if wanted:
        _, (place,) = up.examined(settings, [folder], expected)
        assert place.is_folder
    else:
        with pytest.raises(UsageError, match="does not exist"):
            up.examined(settings, [folder], expected)
    assert asked == [f"{folder} does not exist. Create it?"]
    assert folder.is_dir() == wanted


def test_what_is_waited_for_is_not_asked_for(tmp_path: Path) -> None:
    settings = load({}, overrides={"home": tmp_path / "home", "engine": "scripted"})
    _, (place,) = up.examined(settings, [tmp_path / "share"], Expected(awaited=True, may_ask=True))
    assert not place.exists


@pytest.fixture
def system(tmp_path: Path) -> System:
    """A machine of which nothing was started."""
    settings = load({}, overrides={"home": tmp_path, "engine": "scripted"})
    store = open_database(settings.database)
    return System(settings, store, registry.choose_all(settings), [], threading.Event(), JsonReport())


def test_who_stops_up_is_told_what_is_kept_and_what_begins_again(
    system: System, capsys: pytest.CaptureFixture[str]
) -> None:
    store = system.database
    first, second, _ = prepare(store, admit(store, "long.wav"), windows=3)
    read(store, first)
    assert chunks.claim(store, second, "model", LEASE)
    prepare(store, admit(store, "waits.wav"))
    (only,) = prepare(store, admit(store, "begun.wav"))
    assert chunks.claim(store, only, "model", LEASE)
    system._say_what_stops()
    stopping, begun, chunk = (json.loads(line)["message"] for line in capsys.readouterr().out.splitlines())
    assert "goes on with the next `dropscribe up`" in stopping
    assert begun == "begun.wav: of 10 s nothing is transcribed yet; 1 chunk under way begins again at its start"
    assert chunk == (
        "long.wav: 10 s of 30 s is transcribed, which is kept; 1 chunk under way begins again at its start"
    )


def test_a_drain_ends_when_all_that_is_left_waits_for_a_model_that_nobody_has(system: System) -> None:
    store = system.database
    fleet.register(store, "other", host="h", pid=1, role="model", state="loading")
    jobs.admit(store, [NewJob("/root", "a.wav", 1, 1, "d", "normal", overrides=JobOverrides(engine="vibevoice"))])
    assert not system._report(until_drained=True), "a worker that loads its model may serve it yet"
    fleet.heartbeat(store, "other", engine=ENGINE, state="ready")
    with pytest.raises(DropscribeError, match="1 recording left, waiting for the engine vibevoice"):
        system._report(until_drained=True)
    assert not system._report(until_drained=False)


def test_of_an_engine_that_could_not_start_the_drain_ends_with_the_reason(system: System) -> None:
    store = system.database
    fleet.register(store, "other", host="h", pid=1, role="model", state="ready")
    fleet.heartbeat(store, "other", engine=ENGINE)
    jobs.admit(store, [NewJob("/root", "a.wav", 1, 1, "d", "normal", overrides=JobOverrides(engine="vibevoice"))])
    assert fleet_status.gather(store, system.settings).unserved_jobs == 1
    gave_up = GaveUpError(object(), "model2 ends as soon as it starts: no CUDA", remedy="its log is there")
    system.models.given_up.append(gave_up)
    with pytest.raises(GaveUpError, match="no CUDA"):
        system._report(until_drained=True)
    admit(store, "for all.wav")
    assert not system._report(until_drained=True), "the others go on while there is something for them"
