"""What the screen prints is a name: every command that takes a JOB takes it, from anywhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from dropscribe.admin.client import Client
from dropscribe.core.types import JobState
from dropscribe.store import jobs
from dropscribe.store.jobs import NewJob
from dropscribe.store.roots import RootReport, report_roots
from dropscribe.store.session import Database
from tests.integration.console import Cli, admit, done, fail


@pytest.fixture
def share(store: Database) -> Database:
    """Two watched folders, of which one was reported by a scheduler."""
    report_roots(store, [RootReport("/share", "here", "ext4", online=True)])
    return store


def admit_again(store: Database, path: str) -> str:
    """As somebody does who submits it with other settings."""
    (job_id,) = jobs.admit(store, [NewJob("/rec", path, 1234, 1, "other", "normal")], again=True)
    return job_id


@pytest.mark.parametrize("name", ["jfk.flac", "bob/jfk.flac", "old/bob/jfk.flac"])
def test_a_job_is_found_by_the_name_of_its_recording_or_the_end_of_its_path(
    share: Database, cli: Cli, name: str
) -> None:
    job_id = done(share, "old/bob/jfk.flac")
    done(share, "xjfk.flac")
    assert cli("show", name, "--json").json["id"] == job_id


def test_a_path_below_a_watched_folder_means_that_file_whatever_else_ends_so(share: Database, cli: Cli) -> None:
    done(share, "old/bob/half.wav")
    job_id = admit(share, "half.wav", root="/share/bob")  # submitted before its folder was watched
    assert cli("show", "bob/half.wav", "--json").json["id"] == job_id


def test_of_a_name_that_many_recordings_have_the_first_candidates_are_listed(share: Database, cli: Cli) -> None:
    ids = [admit(share, f"{number}/talk.wav") for number in range(5)]
    shown = cli("cancel", "talk.wav")
    assert shown.code == 1
    assert sum(job_id in shown.err for job_id in ids) == 3
    assert "; or others; name its path or its id" in shown.err


def test_of_one_recording_the_newest_job_is_meant(share: Database, cli: Cli) -> None:
    fail(share, "a/talk.wav")
    newest = admit_again(share, "a/talk.wav")
    assert cli("show", "talk.wav", "--json").json["id"] == newest


@pytest.mark.parametrize(
    "command",
    [
        "show NAME",
        "transcript NAME",
        "logs NAME",
        "speakers NAME",
        "export NAME --format txt --to out",
        "retry NAME",
        "cancel NAME",
        "priority NAME high",
        "rerun NAME",
        "forget NAME",
    ],
)
def test_every_command_that_takes_a_job_takes_a_name(share: Database, cli: Cli, command: str, tmp_path: Path) -> None:
    (tmp_path / "late").mkdir()
    admit(share, "late/waits.wav", root=str(tmp_path))
    done(share, "bob/over.wav", JobState.SUSPECT)
    waits = command.split(maxsplit=1)[0] in {"cancel", "priority", "rerun"}
    ended = cli(*command.replace("NAME", "waits.wav" if waits else "over.wav").split())
    assert (ended.code, "error" in ended.err) == (0, False), ended.err


def test_forget_means_all_jobs_of_the_recording_of_a_name(share: Database, cli: Cli) -> None:
    fail(share, "bob/over.wav")
    assert cli("cancel", admit_again(share, "bob/over.wav")).code == 0
    assert len(cli("forget", "over.wav", "--json").json["jobs"]) == 2


@pytest.mark.parametrize("name", ["/nowhere/talk.wav", "./talk.wav", "~/talk.wav", "Talk.wav", "alk.wav"])
def test_a_path_that_is_none_and_a_part_of_a_name_mean_nothing(share: Database, cli: Cli, name: str) -> None:
    admit(share, "bob/talk.wav")
    shown = cli("show", name)
    assert (shown.code, f"no job has the id, the path or the name {name}" in shown.err) == (1, True)


def test_a_client_takes_the_same_names(share: Database, database_url: str, tmp_path: Path) -> None:
    job_id = admit(share, "bob/talk.wav")
    with Client(database_url) as client:
        assert client.job("talk.wav").id == client.job(Path("bob/talk.wav")).id == job_id
