"""Three accounts at one share: the worker's, an owner's with a closed folder, a stranger's who may create at the top.

Each attack is made by its account, while a recording of the owner is being transcribed.
"""

from __future__ import annotations

import errno
import os
import pwd
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from dropscribe.core import access, corrections, mounts, reserved_names
from dropscribe.core.access import Access
from dropscribe.core.corrections import TextEdit
from dropscribe.core.errors import OtherFolderError, SettingsError, WithheldError
from dropscribe.core.job_overrides import JobOverrides
from dropscribe.core.settings import Settings
from dropscribe.core.types import JobState, SpeakerNames
from dropscribe.scheduler.scanning import folder_files, scan
from dropscribe.scheduler.watching import admission
from dropscribe.scheduler.watching.folder_rules import read_folders
from dropscribe.scheduler.watching.root_watch import RootWatch
from dropscribe.store import commands, jobs, queries, recording_moves, revisions, speakers, transcripts
from dropscribe.store.jobs import NewJob
from dropscribe.store.recording_moves import Move
from dropscribe.store.revisions import NewRevision
from dropscribe.store.session import Database
from dropscribe.worker import cpu_tasks, model_tasks
from dropscribe.worker.finishing import placement, publish
from dropscribe.worker.finishing.destination import destination, written
from dropscribe.worker.runtime.context import WorkerContext
from tests.accounts import OWNER, STRANGER, WORKER, Account, shared_folder
from tests.e2e.harness import speech
from tests.integration.console import Cli
from tests.integration.one_worker import MakeContext, make_due, queued

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be several accounts")
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)  # what is attacked is the share


@pytest.fixture
def share() -> Iterator[Path]:
    with shared_folder() as top:
        yield top


@pytest.fixture
def inbox(share: Path) -> Path:
    """What the scheduler watches."""
    return share


@pytest.fixture
def talk(share: Path) -> Path:
    """The owner's recording, in a folder that the clinic alone may enter."""
    folder = share / "hr"
    folder.mkdir()
    OWNER.owns(folder, 0o750)
    return OWNER.owns(speech(folder / "talk.wav", 2.0), 0o640)


@pytest.fixture
def context(make_context: MakeContext) -> WorkerContext:
    return make_context(outputs=("json", "txt", "html"))


def admit(worker: WorkerContext, root: Path, recording: Path, **own: object) -> str:
    found = recording.stat()
    path = str(recording.relative_to(root))
    new = NewJob(str(root), path, found.st_size, found.st_mtime_ns, "digest", "normal")
    (job_id,) = jobs.admit(worker.database, [replace(new, **own)])
    return job_id


def transcribe(context: WorkerContext, share: Path, recording: Path, meanwhile: Callable[[], object]) -> queries.Job:
    """Carry the recording through; `meanwhile` happens after it was read, and before its files are written."""
    job_id = admit(context, share, recording)
    cpu_tasks.prepare_job(context, job_id)
    model_tasks.transcribe_chunk(context, f"{job_id}.0")
    meanwhile()
    return finish(context, job_id)


def finish(context: WorkerContext, job_id: str) -> queries.Job:
    for _ in range(context.settings.failed_attempts):
        make_due(context)
        cpu_tasks.finish_job(context, job_id)
    return queries.job(context.database, job_id)


def refuse(*_: object) -> None:
    """As `setxattr` of NFS 4 does, which cannot be mounted here."""
    raise OSError(errno.EOPNOTSUPP, "Operation not supported")


def readers(path: Path) -> list[Account]:
    return [account for account in (WORKER, OWNER, STRANGER) if account.can_read(path)]


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


@on_sqlite
class TestFoldersThatChange:
    def test_a_folder_that_takes_the_place_of_the_recordings_gets_no_transcript(
        self, context: WorkerContext, share: Path, talk: Path
    ) -> None:
        def attack() -> None:
            (share / "hr").rename(share / "old")
            (share / "hr").mkdir()
            (share / "hr" / "talk.wav").write_bytes(b"bait")

        job = transcribe(context, share, talk, lambda: STRANGER.does(attack))
        assert files_below(share / "hr") == ["talk.wav"]
        assert job.state is JobState.SUSPECT
        assert "another one has its name" in job.reason
        assert f"dropscribe transcript {job.id}" in job.reason
        assert transcripts.document(context.database, job.id)

    def test_what_stayed_in_the_store_is_written_once_the_folder_is_back(
        self, context: WorkerContext, share: Path, talk: Path
    ) -> None:
        job = transcribe(context, share, talk, lambda: STRANGER.does(partial((share / "hr").rename, share / "old")))
        assert job.state is JobState.SUSPECT
        (share / "old").rename(share / "hr")
        assert commands.retry(context.database, job.id) is JobState.FINISHING
        assert finish(context, job.id).state is JobState.DONE
        assert talk.with_suffix(".txt").exists()

    def test_a_link_in_the_place_of_the_folder_writes_nothing_elsewhere(
        self, context: WorkerContext, share: Path, talk: Path
    ) -> None:
        outside = share.parent / "www"
        outside.mkdir()

        def attack() -> None:
            (share / "hr").rename(share / "old")
            (share / "hr").symlink_to(outside)

        assert transcribe(context, share, talk, lambda: STRANGER.does(attack)).state is JobState.SUSPECT
        assert files_below(outside) == []

    def test_results_go_through_no_link_and_into_no_other_folder(
        self, context: WorkerContext, share: Path, talk: Path, tmp_path: Path
    ) -> None:
        outside = share.parent / "www"
        outside.mkdir()
        context = replace(context, settings=context.settings.model_copy(update={"results": share / "texts"}))
        STRANGER.does(partial((share / "texts").symlink_to, outside))
        job = transcribe(context, share, talk, lambda: None)
        assert job.state is JobState.FAILED
        assert "leads out of" in job.reason
        assert files_below(outside) == []

    def test_a_folder_that_a_filesystem_numbers_anew_is_known_by_its_recording(
        self, context: WorkerContext, share: Path, talk: Path
    ) -> None:
        def number_anew() -> None:
            (share / "hr").rename(share / "old")
            (share / "hr").mkdir()
            (share / "old" / "talk.wav").rename(talk)

        assert transcribe(context, share, talk, number_anew).state is JobState.DONE

    def test_it_is_known_by_a_recording_that_was_archived_too(
        self, context: WorkerContext, share: Path, talk: Path
    ) -> None:
        job_id = admit(context, share, talk, overrides=JobOverrides(when_done="archive"))
        cpu_tasks.prepare_job(context, job_id)
        model_tasks.transcribe_chunk(context, f"{job_id}.0")
        finish(context, job_id)
        found = talk.stat()
        move = Move(job_id, str(share), "hr/talk.wav", None, found.st_size, found.st_mtime_ns, False, "", "")
        talk.rename(share / "hr" / "done" / "talk.wav")
        recording_moves.moved(context.database, move, "hr/done/talk.wav")
        (share / "hr").rename(share / "old")
        shutil.copytree(share / "old", share / "hr")  # on another disk, all inodes are others
        job = queries.job(context.database, job_id)
        with written(job, share / "hr" / "done" / "talk.txt", context.settings) as way:
            assert way.read_bytes() == (share / "old" / "done" / "talk.txt").read_bytes()
        (share / "hr" / "done" / "talk.wav").write_bytes(b"bait")
        with (
            pytest.raises(OtherFolderError),
            written(job, share / "hr" / "done" / "talk.txt", context.settings),
        ):
            pass

    def test_names_of_speakers_are_written_into_no_other_folder(
        self, context: WorkerContext, share: Path, talk: Path
    ) -> None:
        job = transcribe(context, share, talk, lambda: None)
        assert job.state is JobState.DONE

        def attack() -> None:
            (share / "hr").rename(share / "old")
            (share / "hr").mkdir()

        STRANGER.does(attack)
        speakers.say(context.database, job.id, SpeakerNames({0: "Ada"}, {}))
        assert finish(context, job.id).state is JobState.SUSPECT
        assert files_below(share / "hr") == []


CHANGES = pytest.mark.parametrize("change", ["link", "folder"])


def changed(share: Path, change: str) -> Path:
    """The folder `hr` is renamed, and a link or another folder stands there, with the same transcripts in it."""
    other = share.parent / "www" if change == "link" else share / "hr"
    (share / "hr").rename(share / "old")
    shutil.copytree(share / "old", other, ignore=shutil.ignore_patterns("*.wav"))
    if change == "link":
        (share / "hr").symlink_to(other)
    return other


def before(call: Callable[..., Any], attack: Callable[[], object]) -> Callable[..., Any]:
    """The call, just before which the attack is made, once."""
    waiting = [attack]

    def both(*arguments: Any, **named: Any) -> Any:
        while waiting:
            waiting.pop()()
        return call(*arguments, **named)

    return both


@CHANGES
class TestFoldersThatChangeAtWork:
    """When the folder changes, its descriptor is open; when the command comes again, it is not."""

    @on_sqlite
    def test_a_marker(
        self, context: WorkerContext, share: Path, talk: Path, change: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        context = replace(context, settings=context.settings.model_copy(update={"marker": "done"}))
        monkeypatch.setattr(publish, "marker", before(publish.marker, partial(changed, share, change)))
        assert transcribe(context, share, talk, lambda: None).state is JobState.DONE
        assert {path.suffix for path in (share / "hr").iterdir()} == {".json", ".txt", ".html"}
        assert (share / "old" / "talk.done").exists()

    @on_sqlite
    @pytest.mark.parametrize("command", ["export --format srt", "forget --outputs --yes"])
    def test_what_people_ask_for(
        self,
        context: WorkerContext,
        store: Database,
        share: Path,
        talk: Path,
        cli: Cli,
        change: str,
        command: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        job = transcribe(context, share, talk, lambda: None)
        monkeypatch.setattr(placement, "digest", before(placement.digest, partial(changed, share, change)))
        asked = [cli(command.split(maxsplit=1)[0], job.id, *command.split()[1:]).code for _ in range(2)]
        assert asked == [int(command.startswith("forget")), 1]
        assert files_below(share / "hr") == ["talk.html", "talk.json", "talk.txt"]
        assert (share / "old" / "talk.srt").exists() == command.startswith("export")
        assert queries.job(store, job.id)

    def test_a_reason_file(self, share: Path, talk: Path, change: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(folder_files, "_ours", before(folder_files._ours, partial(changed, share, change)))
        folder_files.put(str(share), f"hr/{reserved_names.ERROR}", "mistakes", "mistakes")
        assert files_below(share / "hr") == []
        assert (share / "old" / reserved_names.ERROR).exists()


@on_sqlite
class TestReaders:
    @pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o604, 0o400], ids=oct)
    def test_who_can_read_the_recording_and_nobody_else_reads_its_transcripts(
        self, context: WorkerContext, share: Path, mode: int
    ) -> None:
        talk = OWNER.owns(speech(share / "talk.wav", 2.0), mode)
        assert transcribe(context, share, talk, lambda: None).state is JobState.DONE
        for fmt in ("json", "txt", "html"):
            written = talk.with_suffix(f".{fmt}")
            assert readers(written) == readers(talk)
            assert (written.stat().st_uid, written.stat().st_gid) == (OWNER.uid, OWNER.gid)

    def test_a_recording_that_is_closed_meanwhile_closes_its_transcript(
        self, context: WorkerContext, share: Path
    ) -> None:
        talk = OWNER.owns(speech(share / "talk.wav", 2.0), 0o644)
        transcribe(context, share, talk, lambda: OWNER.does(partial(talk.chmod, 0o600)))
        assert readers(talk.with_suffix(".txt")) == [OWNER]

    def test_a_transcript_that_others_could_read_is_closed_when_it_is_written_again(
        self, context: WorkerContext, share: Path
    ) -> None:
        talk = OWNER.owns(speech(share / "talk.wav", 2.0), 0o600)
        job = transcribe(context, share, talk, lambda: None)
        older = talk.with_suffix(".txt")
        before = older.stat()
        older.chmod(0o644)  # as of a version that knew no readers
        assert readers(older) == [WORKER, OWNER, STRANGER]
        speakers.say(context.database, job.id, SpeakerNames({9: "Ada"}, {}))
        assert finish(context, job.id).state is JobState.DONE
        assert readers(older) == [OWNER]
        assert older.stat().st_ino == before.st_ino, "its content is the same, so the file is"

    def test_of_a_file_with_two_names_the_readers_are_left_alone(self, context: WorkerContext, share: Path) -> None:
        talk = OWNER.owns(speech(share / "talk.wav", 2.0), 0o600)
        job = transcribe(context, share, talk, lambda: None)
        older, other = talk.with_suffix(".txt"), share / "other"
        os.link(older, other)
        other.chmod(0o644)
        speakers.say(context.database, job.id, SpeakerNames({9: "Ada"}, {}))
        assert finish(context, job.id).state is JobState.DONE
        assert (readers(older), other.stat().st_mode & 0o777) == ([OWNER], 0o644)

    def test_the_mirror_below_results_is_as_closed_as_the_folders(
        self, context: WorkerContext, share: Path, talk: Path
    ) -> None:
        results = share.parent / "results"
        context = replace(context, settings=context.settings.model_copy(update={"results": results}))
        assert transcribe(context, share, talk, lambda: None).state is JobState.DONE
        assert readers(results / "share" / "hr" / "talk.txt") == [WORKER, OWNER]
        modes = [(results / way).stat().st_mode & 0o777 for way in ("", "share", "share/hr")]
        assert modes == [0o755, 0o777, 0o750]

    @pytest.mark.parametrize("acls", [True, False], ids=["acls", "no-acls"])
    @pytest.mark.parametrize("mode", [0o2750, 0o2775], ids=oct)
    def test_a_folder_that_is_made_keeps_its_group_and_what_is_inherited(
        self, context: WorkerContext, share: Path, talk: Path, mode: int, acls: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if not acls:
            monkeypatch.setattr(os, "setxattr", refuse)
        talk.parent.chmod(mode)
        job_id = admit(context, share, talk, overrides=JobOverrides(when_done="archive"))
        cpu_tasks.prepare_job(context, job_id)
        model_tasks.transcribe_chunk(context, f"{job_id}.0")
        assert finish(context, job_id).state is JobState.DONE
        made = (talk.parent / "done").stat()
        assert (made.st_mode & 0o7777, made.st_uid, made.st_gid) == (mode, OWNER.uid, OWNER.gid)
        assert readers(talk.parent / "done" / "talk.txt") == [WORKER, OWNER]

    def test_results_that_a_folder_chose_are_refused_where_more_people_look_in(
        self, context: WorkerContext, share: Path, talk: Path
    ) -> None:
        (share / "pub").mkdir(mode=0o755)
        own = JobOverrides(folder=str(share / "pub"))
        job_id = admit(context, share, talk, overrides=own)
        cpu_tasks.prepare_job(context, job_id)
        model_tasks.transcribe_chunk(context, f"{job_id}.0")
        job = finish(context, job_id)
        assert job.state is JobState.SUSPECT
        assert "more people can read" in job.reason
        assert files_below(share / "pub") == []
        (share / "pub").chmod(0o700)
        assert commands.retry(context.database, job_id) is JobState.FINISHING
        assert finish(context, job_id).state is JobState.DONE
        assert len(files_below(share / "pub")) == 3

    def test_the_operator_chooses_mode_and_group(self, context: WorkerContext, share: Path, talk: Path) -> None:
        chosen = {"output_mode": "0644", "output_group": str(STRANGER.gid)}
        context = replace(context, settings=context.settings.model_copy(update=chosen))
        assert transcribe(context, share, talk, lambda: None).state is JobState.DONE
        found = talk.with_suffix(".txt").stat()
        assert (found.st_mode & 0o777, found.st_uid, found.st_gid) == (0o644, OWNER.uid, STRANGER.gid)


@on_sqlite
class TestWorkerOfItsOwnAccount:
    """It may not give files away, so it names their readers in an ACL."""

    @pytest.fixture
    def job(self, context: WorkerContext, share: Path, talk: Path) -> queries.Job:
        OWNER.owns(share / "hr", 0o770)
        job_id = admit(context, share, talk)
        cpu_tasks.prepare_job(context, job_id)
        return queries.job(context.database, job_id)

    @staticmethod
    def put(job: queries.Job, settings: Settings) -> None:
        with destination(job, settings) as there:
            target = there.at(there.folder / "talk.txt")
            placement.write(target, b"secret", job.id, there.readers, replaces=False)

    def test_the_owner_reads_the_transcript_and_no_stranger_does(
        self, settings: Settings, job: queries.Job, talk: Path
    ) -> None:
        WORKER.does(partial(self.put, job, settings))
        assert talk.with_suffix(".txt").stat().st_uid == WORKER.uid
        assert readers(talk.with_suffix(".txt")) == [WORKER, OWNER]

    def test_the_folders_of_results_let_the_owner_in_and_no_stranger(
        self, settings: Settings, job: queries.Job, share: Path
    ) -> None:
        results = share.parent / "results"
        results.mkdir()
        WORKER.owns(results, 0o755)
        WORKER.does(partial(self.put, job, settings.model_copy(update={"results": results})))
        assert readers(results / "share" / "hr" / "talk.txt") == [WORKER, OWNER]

    def test_without_acls_a_transcript_that_its_owner_could_not_read_is_withheld(
        self, settings: Settings, job: queries.Job, talk: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        OWNER.owns(talk, 0o600)
        monkeypatch.setattr(os, "setxattr", refuse)
        with pytest.raises(WithheldError, match=f"account {OWNER.uid}, which owns its recording, could not read it"):
            WORKER.does(partial(self.put, job, settings))
        assert files_below(talk.parent) == ["talk.wav"]

    def test_without_acls_an_owner_that_this_host_does_not_know_reads_by_the_group(
        self, settings: Settings, job: queries.Job, talk: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with pytest.raises(KeyError):
            pwd.getpwuid(OWNER.uid)
        monkeypatch.setattr(os, "setxattr", refuse)
        WORKER.does(partial(self.put, job, settings))
        found = talk.with_suffix(".txt").stat()
        assert (found.st_mode & 0o777, found.st_uid, found.st_gid) == (0o640, WORKER.uid, OWNER.gid)
        assert readers(talk.with_suffix(".txt")) == [WORKER, OWNER]


def test_where_a_service_may_not_set_what_is_inherited_a_folder_keeps_its_readers(
    share: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fchmod

    def restricted(descriptor: int, mode: int) -> None:
        if mode & stat.S_ISGID:  # as RestrictSUIDSGID does
            raise PermissionError(errno.EPERM, "Operation not permitted")
        real(descriptor, mode)

    monkeypatch.setattr(os, "setxattr", refuse)
    monkeypatch.setattr(os, "fchmod", restricted)
    found = []
    for name, mode in (("same", 0o2700), ("wider", 0o2750), ("closer", 0o2750)):
        (share / name).mkdir()
        OWNER.owns(share / name, 0o2777 if name == "closer" else 0o2700)
        made = os.open(share / name, os.O_RDONLY | os.O_DIRECTORY)
        access.give(made, Access(OWNER.uid, OWNER.gid, 7, mode >> 3 & 7, 0), own=access.ALL)
        os.close(made)
        found.append((share / name).stat().st_mode & 0o7777)
    assert found == [0o2700, 0o750, 0o750]


def settings_of(account: Account, folder: Path, text: str, name: str = reserved_names.SETTINGS) -> Path:
    """A file that this account leaves in a folder."""
    path = folder / name
    path.write_text(text)
    return account.owns(path, 0o644)


def look(watch: RootWatch, moment: float = 0.0) -> dict[str, queries.Job]:
    """The jobs that there are once everything has stood still."""
    for later in (0.0, 10.0):
        watch.look(moment + later)
    return {job.path: job for job in queries.list_jobs(watch.known.args[0])}


@pytest.fixture
def visit(share: Path) -> Path:
    """A stranger's own recording in a folder of their own."""
    folder = share / "visit"
    folder.mkdir()
    STRANGER.owns(folder, 0o755)
    return STRANGER.owns(speech(folder / "own.wav", 2.0, seed=2), 0o644)


@on_sqlite
class TestSettingsOnTheShare:
    @pytest.mark.parametrize(
        "said", ['results = "pub"\nstatus_page = true\ncontext = "x"', "results = ", 'engine = "no"']
    )
    def test_a_file_of_a_stranger_at_the_top_holds_for_nobody_and_stops_nobody(
        self, watch: RootWatch, share: Path, talk: Path, visit: Path, said: str
    ) -> None:
        settings_of(STRANGER, share, said)
        found = look(watch)
        assert {path: (job.overrides.folder, job.context) for path, job in found.items()} == {
            "hr/talk.wav": (None, ""),
            "visit/own.wav": (None, ""),
        }
        assert not watch.folders.status_page
        assert f"it belongs to account {STRANGER.uid}" in (share / reserved_names.ERROR).read_text()
        assert [(one.folder, one.files) for one in watch.report.waiting] == [("", 0)]

    def test_a_file_of_the_owner_shapes_the_text_and_what_else_it_says_is_named(
        self, watch: RootWatch, share: Path, talk: Path
    ) -> None:
        settings_of(OWNER, talk.parent, 'context = "board"\nresults = "pub"\nwhen_done = "archive"')
        job = look(watch)["hr/talk.wav"]
        assert (job.context, job.overrides.given) == ("board", {})
        told = (talk.parent / reserved_names.ERROR).read_text()
        assert "- results: only the operator may set this" in told
        assert "- when_done: only the operator may set this" in told
        ((folder, reason, files),) = watch.report.waiting
        assert (folder, files) == ("hr/", 0)
        assert reason.startswith("results: only the operator")
        assert not STRANGER.can_read(talk.parent / reserved_names.ERROR)

    def test_the_operator_says_everything_of_a_folder_and_allows_more(
        self, watch: RootWatch, share: Path, talk: Path, visit: Path
    ) -> None:
        table = {"priority": "high", "results": "texts", "context": "ours", "allow": ["when_done"]}
        watch = replace(watch, settings=watch.settings.model_copy(update={"folders": {str(share / "hr"): table}}))
        settings_of(OWNER, talk.parent, 'context = "board"\nwhen_done = "archive"')
        settings_of(STRANGER, visit.parent, 'when_done = "archive"')
        found = look(watch)
        talked, visited = found["hr/talk.wav"], found["visit/own.wav"]
        assert (talked.context, talked.priority, talked.overrides.archives) == ("board", "high", True)
        assert talked.overrides.folder == str(share / "hr" / "texts")
        assert (visited.context, visited.priority, visited.overrides.given) == ("", "normal", {})

    @pytest.mark.parametrize("said", ['context = "mine"', "context ="])
    def test_a_file_reaches_and_stops_no_folder_of_another_owner(
        self, watch: RootWatch, share: Path, talk: Path, said: str
    ) -> None:
        below = talk.parent / "guests"
        below.mkdir()
        STRANGER.owns(below, 0o755)
        STRANGER.owns(speech(below / "own.wav", 2.0, seed=3), 0o644)
        settings_of(OWNER, talk.parent, said)
        found = look(watch)
        assert found["hr/guests/own.wav"].context == ""
        assert [job.context for path, job in found.items() if path == "hr/talk.wav"] == ["mine"] * ('"' in said)
        settings_of(OWNER, talk.parent, 'context = "fixed"')
        assert look(watch, 100.0)["hr/talk.wav"].context in {"mine", "fixed"}

    def test_a_file_of_the_operator_where_others_can_write_shapes_the_text_alone(
        self, watch: RootWatch, share: Path, talk: Path
    ) -> None:
        (share / reserved_names.SETTINGS).write_text('context = "all of us"\nresults = "pub"')
        job = look(watch)["hr/talk.wav"]
        assert (job.context, job.overrides.folder) == ("all of us", None)

    def test_hotwords_of_a_stranger_and_files_with_two_names_do_not_count(
        self, watch: RootWatch, share: Path, talk: Path, visit: Path
    ) -> None:
        settings_of(OWNER, talk.parent, 'context = "board"')
        settings_of(STRANGER, talk.parent, "Mallory", reserved_names.HOTWORDS)
        secret = share.parent / "secret.txt"
        secret.write_text("a secret")
        settings_of(STRANGER, visit.parent, "")
        os.link(secret, visit.parent / reserved_names.HOTWORDS)
        found = look(watch)
        assert found["hr/talk.wav"].context == "board"
        assert "visit/own.wav" not in found
        assert "hard link" in (visit.parent / reserved_names.ERROR).read_text()

    def test_no_text_of_settings_gets_into_outputs(self, context: WorkerContext, share: Path, talk: Path) -> None:
        job_id = admit(context, share, talk, context="Project Nightingale")
        cpu_tasks.prepare_job(context, job_id)
        model_tasks.transcribe_chunk(context, f"{job_id}.0")
        assert finish(context, job_id).state is JobState.DONE
        for fmt in ("json", "txt", "html"):
            assert "Nightingale" not in talk.with_suffix(f".{fmt}").read_text()


@on_sqlite
def test_a_recording_with_the_longest_path_and_name_gets_its_transcripts(
    context: WorkerContext, share: Path, tmp_path: Path
) -> None:
    folder = share
    while (left := 4090 - len(str(folder)) - 257) > 0:
        folder /= "d" * min(left, 200)
    folder.mkdir(parents=True)
    job = transcribe(context, share, speech(tmp_path / "a.wav", 2.0).rename(folder / f"{'é' * 125}x.wav"), lambda: None)
    assert (job.state, len(list(folder.iterdir()))) == (JobState.DONE, 1 + 3)


@on_sqlite
class TestDuplicates:
    @staticmethod
    def copy(context: WorkerContext, root: Path, recording: Path, to: Path, account: Account) -> queries.Job:
        """What becomes of the same bytes in another folder."""
        to.mkdir(parents=True, exist_ok=True)
        account.owns(to, 0o755)
        (to / "copy.wav").write_bytes(recording.read_bytes())
        job_id = admit(context, root, account.owns(to / "copy.wav", 0o644))
        cpu_tasks.prepare_job(context, job_id)
        for chunk in queued(context, job_id):
            model_tasks.transcribe_chunk(context, chunk)
        return finish(context, job_id)

    @pytest.fixture
    def leader(self, context: WorkerContext, share: Path, talk: Path) -> queries.Job:
        """A finished recording of the owner, in which somebody corrected the text and named a speaker."""
        job = transcribe(context, share, talk, lambda: None)
        edits = corrections.stored([TextEdit(0, "about Nightingale")])
        revisions.add(context.database, job.id, NewRevision("ada", edits, summary="1 text"))
        speakers.say(context.database, job.id, SpeakerNames({0: "Dr. Ada"}, {}))
        cpu_tasks.finish_job(context, job.id)
        return job

    def test_equal_bytes_of_somebody_else_tell_no_path_no_job_and_no_name(
        self, context: WorkerContext, share: Path, talk: Path, leader: queries.Job
    ) -> None:
        assert all(said in talk.with_suffix(".json").read_text() for said in ("Dr. Ada", "Nightingale"))
        job = self.copy(context, share, talk, share / "visit", STRANGER)
        assert (job.state, job.reason) == (JobState.DUPLICATE, "same content as another recording")
        for fmt in ("json", "txt", "html"):
            told = (share / "visit" / f"copy.{fmt}").read_text()
            assert not any(secret in told for secret in ("Ada", "Nightingale", leader.id, "hr/talk", "talk.wav"))

    def test_those_of_the_same_owner_name_the_other_and_what_people_said_stays_in_its_folder(
        self, context: WorkerContext, share: Path, talk: Path, leader: queries.Job
    ) -> None:
        for folder, said in (("later", False), ("hr", True)):
            job = self.copy(context, share, talk, share / folder, OWNER)
            assert (job.state, job.reason) == (JobState.DUPLICATE, f"same content as job {leader.id} (hr/talk.wav)")
            told = (share / folder / "copy.json").read_text()
            assert [word in told for word in ("Dr. Ada", "Nightingale")] == [said, said]

    @pytest.mark.parametrize(("setting", "found"), [("folder", [0, 0]), ("root", [1, 0]), ("fleet", [1, 1])])
    def test_they_are_looked_for_as_far_as_the_setting_says(
        self, context: WorkerContext, share: Path, talk: Path, setting: str, found: list[int]
    ) -> None:
        context = replace(context, settings=context.settings.model_copy(update={"duplicates": setting}))
        transcribe(context, share, talk, lambda: None)
        here = self.copy(context, share, talk, share / "later", OWNER)
        there = self.copy(context, share.parent, talk, share.parent / "other", OWNER)
        assert [job.state is JobState.DUPLICATE for job in (here, there)] == [*map(bool, found)]


class TestSettingsFiles:
    def test_they_say_the_same_of_a_recording_that_is_submitted(self, share: Path, talk: Path, visit: Path) -> None:
        settings_of(STRANGER, share, 'context = "x"')
        settings_of(OWNER, talk.parent, 'context = "board"\nresults = "pub"')
        (talk.parent / "guests").mkdir()
        STRANGER.owns(talk.parent / "guests", 0o755)
        found = [admission.orders_above(Settings(), share, path, {}) for path in ("hr/talk.wav", "hr/guests/a.wav")]
        assert [(one.context, one.results) for one in found] == [("board", None), ("", None)]

    def test_a_table_with_a_mistake_is_named(self, share: Path) -> None:
        for wrong in ({"allow": ["everything"]}, {"allow": "results"}, {"resluts": "x"}, {"results": "/etc"}):
            found = read_folders(Settings(folders={str(share): wrong}), share, {})
            with pytest.raises(SettingsError, match=r"\[folders\.\""):
                found.orders("hr/talk.wav")

    def test_the_files_of_one_owner_leave_room_for_those_of_others(
        self, share: Path, talk: Path, visit: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(scan, "MAX_SETTINGS", 100)
        for number in range(20):
            (visit.parent / f"{number:02}").mkdir()
            STRANGER.owns(visit.parent / f"{number:02}", 0o755)
            settings_of(STRANGER, visit.parent / f"{number:02}", 'context = "flood"')
        settings_of(OWNER, talk.parent, 'context = "board"')
        found = scan.scan(share)
        assert found.settings["hr/"].text == 'context = "board"'
        assert sum(not file.problem for file in found.settings.values()) == 1 + 5

    def test_on_a_filesystem_without_owners_files_shape_the_text_alone(
        self, share: Path, talk: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (share / reserved_names.SETTINGS).write_text('context = "all of us"\nresults = "pub"')
        monkeypatch.setattr(mounts, "filesystem_of", lambda _: "vfat")  # which cannot be mounted here
        share.chmod(0o755)
        found = scan.scan(share)
        folders = read_folders(Settings(), share, found.settings, borders=found.borders)
        assert (folders.orders("hr/talk.wav").context, folders.orders("hr/talk.wav").results) == ("all of us", None)
