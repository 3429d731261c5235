"""Recordings that a recorder wrote in parts: one job, one time line, one transcript, whatever becomes of a part."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import soundfile

from dropscribe.admin.state import fleet_status, unadmitted
from dropscribe.admin.state.job_lookup import find
from dropscribe.core.errors import NotMediaError, PartsDifferError
from dropscribe.core.event_kinds import EventKind
from dropscribe.core.queue import Doorbell
from dropscribe.core.settings import Settings
from dropscribe.core.types import JobState
from dropscribe.core.zygote import Zygote
from dropscribe.scheduler.duties import archiver, status_page
from dropscribe.scheduler.watching import admission, submission
from dropscribe.scheduler.watching.file_events import FileEventWatcher
from dropscribe.scheduler.watching.replacement import admit_replaced
from dropscribe.scheduler.watching.root_watch import RootWatch
from dropscribe.store import forget, jobs, parts, queries
from dropscribe.store.events import events_of
from dropscribe.store.parts import Standing
from dropscribe.store.roots import list_roots, report_roots
from dropscribe.store.session import Database
from dropscribe.worker import cpu_tasks
from dropscribe.worker.preparing import decode, in_parts
from dropscribe.worker.preparing.decode import Decoded, Listening, PartToDecode
from dropscribe.worker.runtime.context import WorkerContext
from tests.e2e.harness import speech
from tests.integration.console import Cli
from tests.integration.one_worker import MakeContext, carry_through, make_due
from tests.integration.store_steps import finish, prepare

FIRST, SECOND, THIRD = "GX010042.MP4", "GX020042.MP4", "GX030042.MP4"
WAIT = 600.0

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)  # where no question to the store is new


@pytest.fixture
def make_watch(
    database: Database, settings: Settings, doorbell: Doorbell, inbox: Path
) -> Iterator[Callable[..., RootWatch]]:
    """The scheduler's part that looks after the folder, with all that joining takes."""
    made: list[RootWatch] = []

    def admit(root, whole, gone, folders):
        return admission.admit(database, doorbell, folders, root, whole, gone).refused

    def make(**changes: object) -> RootWatch:
        own = settings.model_copy(update={"join_parts": True, "join_wait": WAIT} | changes)
        known, standings = partial(jobs.known, database), partial(parts.standings, database)
        bell = FileEventWatcher()
        made.append(RootWatch(inbox, own, bell, known, admit, frozenset(), standings=standings))
        return made[-1]

    yield make
    for watched in made:
        watched.close()


@pytest.fixture
def joining(make_watch: Callable[..., RootWatch]) -> RootWatch:
    return make_watch()


@pytest.fixture(scope="module")
def forking() -> Iterator[Zygote | None]:
    made = decode.new_zygote()
    yield made
    if made:
        made.close()


@pytest.fixture
def context(make_context: MakeContext, forking: Zygote | None) -> WorkerContext:
    return replace(make_context(outputs=("json",)), zygote=forking)


def look(watch: RootWatch, *moments: float) -> None:
    for moment in moments:
        watch.look(moment)


def put(folder: Path, **seconds: float) -> None:
    """Parts of that length, of which the later ones are shorter."""
    for number, (name, length) in enumerate(seconds.items()):
        speech(folder / "new.wav", length, seed=number + 1)
        (folder / "new.wav").rename(folder / f"{name}.MP4")


def newest(database: Database) -> queries.Job:
    return queries.list_jobs(database, limit=1)[0]


def document(folder: Path, first: str = FIRST) -> dict:
    found: dict = json.loads((folder / first).with_suffix(".json").read_text())
    return found


def kinds(database: Database, job_id: str) -> list[str]:
    return [event.kind for event in events_of(database, job_id)]


@on_sqlite
def test_parts_become_one_job_with_one_time_line_and_one_transcript_beside_the_first(
    database: Database, joining: RootWatch, inbox: Path, context: WorkerContext
) -> None:
    put(inbox, GX010042=1.2, GX020042=1.1, GX030042=0.6, GX010043=0.8)
    look(joining, 0.0, 10.0)
    found = {job.path: job for job in queries.list_jobs(database)}
    assert {path: job.part_count for path, job in found.items()} == {FIRST: 2, "GX010043.MP4": 0}
    job = carry_through(context, found[FIRST].id)
    assert job.state is JobState.DONE
    told = document(inbox)["source"]
    assert [(part["name"], part["start"], part["duration"]) for part in told["parts"]] == [
        (FIRST, 0.0, pytest.approx(1.2)),
        (SECOND, pytest.approx(1.2), pytest.approx(1.1)),
        (THIRD, pytest.approx(2.3), pytest.approx(0.6)),
    ]
    assert told["duration"] == pytest.approx(2.9, abs=0.01)
    named = f"{FIRST} from 0:00:00, {SECOND} from 0:00:01, {THIRD} from 0:00:02"
    assert job.notes[0] == f"one recording in 3 parts: {named}"
    assert [path.name for path in inbox.glob("*.json")] == ["GX010042.json"]


def test_a_part_leads_to_its_recording_and_is_known_after_a_restart(
    database: Database, make_watch: Callable[..., RootWatch], inbox: Path
) -> None:
    put(inbox, GX010042=1.2, GX020042=1.0)
    look(make_watch(), 0.0, 10.0)
    job = newest(database)
    assert [part.path for part in parts.of_job(database, job.id)] == [SECOND]
    assert find(database, str(inbox / SECOND)) == job.id
    look(make_watch(), 20.0, 30.0, 40.0 + WAIT)
    assert len(queries.list_jobs(database)) == 1


@on_sqlite
def test_a_part_that_comes_late_makes_the_transcript_anew_and_none_is_there_twice(
    database: Database, joining: RootWatch, inbox: Path, context: WorkerContext
) -> None:
    put(inbox, GX010042=1.2, GX020042=1.0)
    look(joining, 0.0, 10.0)
    before = carry_through(context, newest(database).id)
    put(inbox, GX030042=0.6)
    look(joining, 20.0, 30.0)
    job = carry_through(context, newest(database).id)
    assert (job.id != before.id, job.part_count) == (True, 2)
    assert [part["name"] for part in document(inbox)["source"]["parts"]] == [FIRST, SECOND, THIRD]
    assert document(inbox)["job_id"] == job.id
    assert len([*inbox.glob("*.json")]) == 1
    assert EventKind.JOINED in kinds(database, job.id)


def test_a_part_that_comes_while_the_others_wait_or_are_transcribed_ends_their_job(
    database: Database, joining: RootWatch, inbox: Path
) -> None:
    put(inbox, GX010042=1.2, GX020042=1.1)
    look(joining, 0.0, 10.0)
    first = newest(database).id
    put(inbox, GX030042=1.0)
    look(joining, 20.0, 30.0)
    second = newest(database).id
    prepare(database, second)
    put(inbox, GX040042=0.6)
    look(joining, 40.0, 50.0)
    assert [queries.job(database, job).state for job in (first, second)] == [JobState.CANCELLED] * 2
    assert (newest(database).part_count, newest(database).state) == (3, JobState.QUEUED)


@on_sqlite
def test_a_part_that_is_no_sound_leaves_a_gap_that_is_told(
    database: Database, joining: RootWatch, inbox: Path, context: WorkerContext
) -> None:
    put(inbox, GX010042=1.2, GX030042=0.6)
    (inbox / SECOND).write_bytes(os.urandom((inbox / FIRST).stat().st_size * 5 // 6))
    look(joining, 0.0, 10.0)
    job = carry_through(context, newest(database).id)
    assert job.state is JobState.SUSPECT
    assert "0:00:01-0:00:02 could not be read" in job.reason
    assert any("are missing" in note and SECOND in note for note in job.notes)
    assert any(span["start"] == pytest.approx(1.2) for span in document(inbox)["uncovered_speech"])


@on_sqlite
def test_a_part_that_is_gone_is_looked_for_and_then_done_without(
    database: Database, joining: RootWatch, inbox: Path, context: WorkerContext
) -> None:
    put(inbox, GX010042=1.2, GX020042=1.0, GX030042=0.6)
    look(joining, 0.0, 10.0)
    (inbox / SECOND).unlink()
    job_id = newest(database).id
    for _ in range(context.settings.failed_attempts - 1):
        cpu_tasks.prepare_job(context, job_id)
        assert queries.job(database, job_id).state is JobState.QUEUED
        assert SECOND in queries.job(database, job_id).reason
        make_due(context)
    job = carry_through(context, job_id)
    assert (job.state, job.duration) == (JobState.SUSPECT, pytest.approx(2.8, abs=0.02))
    assert any(SECOND in note and "missing" in note for note in job.notes)


@on_sqlite
def test_a_part_that_changes_before_it_is_read_is_not_read_as_another_and_comes_in_again(
    database: Database, joining: RootWatch, inbox: Path, context: WorkerContext
) -> None:
    put(inbox, GX010042=1.2, GX020042=1.0)
    look(joining, 0.0, 10.0)
    before = newest(database).id
    put(inbox, GX020042=0.8)
    cpu_tasks.prepare_job(context, before)
    waits = queries.job(database, before)
    assert (waits.state, "has changed since it was admitted" in waits.reason) == (JobState.QUEUED, True)
    look(joining, 20.0, 30.0)
    assert queries.job(database, before).state is JobState.CANCELLED
    cpu_tasks.prepare_job(context, newest(database).id)
    assert newest(database).duration == pytest.approx(2.0, abs=0.01)


def test_parts_that_others_may_not_read_are_recordings_by_themselves_and_not_joined_again(
    database: Database, joining: RootWatch, inbox: Path, context: WorkerContext
) -> None:
    put(inbox, GX010042=1.2, GX020042=1.0)
    (inbox / FIRST).chmod(0o644)
    (inbox / SECOND).chmod(0o600)
    look(joining, 0.0, 10.0)
    cpu_tasks.prepare_job(context, newest(database).id)
    found = {job.path: job for job in queries.list_jobs(database)}
    assert {path: (job.state, job.part_count) for path, job in found.items()} == {
        FIRST: (JobState.QUEUED, 0),
        SECOND: (JobState.QUEUED, 0),
    }
    assert EventKind.FELL_APART in kinds(database, found[FIRST].id)
    assert "have different readers" in events_of(database, found[SECOND].id)[0].detail
    put(inbox, GX030042=0.6)
    look(joining, 20.0, 30.0)
    assert {job.path: job.part_count for job in queries.list_jobs(database)} == {FIRST: 0, SECOND: 0, THIRD: 0}


def test_all_parts_are_archived_and_a_move_goes_on_where_it_broke_off(
    database: Database, make_watch: Callable[..., RootWatch], inbox: Path
) -> None:
    watch = make_watch(when_done="archive")
    put(inbox, GX010042=1.2, GX020042=1.0, GX030042=0.6)
    look(watch, 0.0, 10.0)
    job = newest(database)
    prepare(database, job.id, windows=0)
    finish(database, job.id)
    (inbox / "done").mkdir()
    (inbox / "done" / SECOND).write_text("somebody else's")
    (inbox / THIRD).rename(inbox / "done" / THIRD)  # and then it crashed
    archiver.put_away(database, watch)
    own = f"done/GX020042.{job.id}.MP4"
    assert [part.path for part in parts.of_job(database, job.id)] == [own, f"done/{THIRD}"]
    assert queries.job(database, job.id).path == f"done/{FIRST}"
    assert {str(path.relative_to(inbox)) for path in inbox.rglob("*.MP4")} == {
        f"done/{FIRST}",
        f"done/{SECOND}",
        own,
        f"done/{THIRD}",
    }
    look(watch, 20.0, 30.0, 40.0)
    look(make_watch(when_done="archive"), 50.0, 60.0)
    assert len(queries.list_jobs(database)) == 1


@on_sqlite
@pytest.mark.parametrize("name", [FIRST, THIRD])
def test_no_part_is_archived_where_one_of_them_was_touched_or_is_written_to(
    database: Database, make_watch: Callable[..., RootWatch], inbox: Path, name: str
) -> None:
    watch = make_watch(when_done="archive")
    put(inbox, GX010042=1.2, GX020042=1.0, GX030042=0.6)
    look(watch, 0.0, 10.0)
    job = newest(database)
    prepare(database, job.id, windows=0)
    finish(database, job.id)
    with (inbox / name).open("ab"):
        archiver.put_away(database, watch)
    assert (watch.held, [*inbox.rglob("done/*")]) == ([FIRST], [])
    os.utime(inbox / name, (1, 1))
    archiver.put_away(database, watch)
    assert [*inbox.rglob("done/*")] == []
    assert "it is another file by now" in [*events_of(database, job.id)][-1].detail
    assert [part.path for part in parts.of_job(database, job.id)] == [SECOND, THIRD]


def test_what_is_forgotten_is_forgotten_in_all_parts(
    database: Database, make_watch: Callable[..., RootWatch], inbox: Path
) -> None:
    put(inbox, GX010042=1.2, GX020042=1.0)
    look(make_watch(), 0.0, 10.0)
    job = newest(database)
    prepare(database, job.id, windows=0)
    finish(database, job.id)
    assert forget.forget(database, [job.id]) == [job.id]
    seen = {name: ((inbox / name).stat().st_size, (inbox / name).stat().st_mtime_ns) for name in (FIRST, SECOND)}
    assert parts.standings(database, str(inbox), seen) == dict.fromkeys(seen, Standing.FORGOTTEN)
    look(make_watch(), 20.0, 30.0, 30.0 + WAIT, 31.0 + WAIT)
    assert queries.list_jobs(database) == []


def test_what_waits_for_a_part_is_told_and_until_when(database: Database, joining: RootWatch, inbox: Path) -> None:
    put(inbox, GX010042=1.2, GX020042=1.2)
    look(joining, 0.0, 10.0)
    report_roots(database, [joining.report])
    assert queries.list_jobs(database) == []
    (root,) = list_roots(database)
    assert (root.pending, {part.path for part in root.parts}) == (2, {FIRST, SECOND})
    assert "waits for a further part of its recording, until 20" in unadmitted.why(
        database, inbox / FIRST, inbox / FIRST
    )
    (told,) = fleet_status.folder_document(root)["parts"][:1]
    assert (told["waits_for"], told["until"][:2]) == ("a further part", "20")
    page = status_page.body(status_page.gather(database, joining.report, str(inbox), 60), {"", "."})
    assert "2 waiting for further parts" in page
    assert joining.next_look <= 10.0 + WAIT
    look(joining, 10.0 + WAIT)
    assert newest(database).part_count == 1
    assert joining.report.parts == ()


@on_sqlite
def test_who_submits_the_first_part_means_all_parts(
    database: Database, joining: RootWatch, inbox: Path, settings: Settings
) -> None:
    put(inbox, GX010042=1.2, GX020042=1.0)
    look(joining, 0.0, 10.0)
    wanted = submission.recording(database, settings, inbox / FIRST, {"language": "de"})
    assert wanted.path == FIRST
    assert [part.path for part in wanted.parts] == [SECOND]
    assert submission.recording(database, settings, inbox / SECOND, {}).parts == ()


@on_sqlite
def test_a_rerun_under_other_settings_is_of_all_parts(
    store: Database, cli: Cli, make_watch: Callable[..., RootWatch], inbox: Path
) -> None:
    watch = make_watch()
    put(inbox, GX010042=1.2, GX020042=1.0)
    look(watch, 0.0, 10.0)
    report_roots(store, [watch.report])
    before = newest(store)
    prepare(store, before.id, windows=0)
    finish(store, before.id)
    (inbox / ".dropscribe.toml").write_text('language = "de"')
    assert cli("rerun", str(inbox / SECOND), "--yes").code == 0
    assert (newest(store).id != before.id, newest(store).path, newest(store).part_count) == (True, FIRST, 1)


@on_sqlite
def test_a_first_part_that_is_replaced_by_another_of_its_size_and_time_keeps_its_further_parts(
    database: Database, joining: RootWatch, inbox: Path, doorbell: Doorbell, context: WorkerContext
) -> None:
    put(inbox, GX010042=1.2, GX020042=1.0)
    look(joining, 0.0, 10.0)
    before = newest(database)
    cpu_tasks.prepare_job(context, before.id)
    moment = (inbox / FIRST).stat()
    speech(inbox / "new.wav", 1.2, seed=9)
    os.utime(inbox / "new.wav", ns=(moment.st_atime_ns, moment.st_mtime_ns))
    (inbox / "new.wav").replace(inbox / FIRST)
    look(joining, 20.0)
    admit_replaced(database, doorbell, joining)
    assert (newest(database).id != before.id, newest(database).part_count) == (True, 1)
    assert queries.job(database, before.id).cancel_requested or queries.job(database, before.id).state.is_final


@on_sqlite
def test_a_folder_says_itself_that_its_files_are_parts(
    database: Database, make_watch: Callable[..., RootWatch], inbox: Path
) -> None:
    watch = make_watch(join_parts=False)
    (inbox / "talks" / ".dropscribe.toml").write_text("join_parts = true")
    put(inbox / "talks", GX010042=1.2, GX020042=1.0)
    put(inbox, GX010042=1.2, GX020042=1.0)
    look(watch, 0.0, 10.0)
    found = {job.path: job.part_count for job in queries.list_jobs(database)}
    assert found == {f"talks/{FIRST}": 1, FIRST: 0, SECOND: 0}


@on_sqlite
def test_a_recording_of_the_same_parts_is_a_duplicate_that_names_its_own(
    database: Database, make_watch: Callable[..., RootWatch], inbox: Path, context: WorkerContext
) -> None:
    put(inbox, GX010042=1.2, GX020042=1.0)
    put(inbox / "talks", GX010043=1.2, GX020043=1.0)
    look(make_watch(), 0.0, 10.0)
    sharing = replace(context, settings=context.settings.model_copy(update={"duplicates": "fleet"}))
    ids = [job.id for job in queries.list_jobs(database)]
    for job_id in (*ids, *ids):
        carry_through(sharing, job_id)
    assert sorted(job.state for job in queries.list_jobs(database)) == [JobState.DONE, JobState.DUPLICATE]
    told = document(inbox / "talks", "GX010043.MP4")["source"]["parts"]
    assert [part["name"] for part in told] == ["GX010043.MP4", "GX020043.MP4"]


@on_sqlite
def test_recordings_come_again_where_the_store_fails_while_they_are_admitted(
    database: Database, joining: RootWatch, inbox: Path
) -> None:
    put(inbox, GX010042=1.2, GX020042=0.6, plain=0.5)
    admit = joining.admit

    def fail(*_: object) -> dict:
        joining.admit = admit
        raise OSError("no store just now")

    joining.admit = fail
    look(joining, 0.0)
    with pytest.raises(OSError, match="no store"):
        look(joining, 10.0)
    look(joining, 20.0, 30.0)
    assert {job.path: job.part_count for job in queries.list_jobs(database)} == {FIRST: 1, "plain.MP4": 0}


@on_sqlite
def test_a_queued_job_follows_its_file_to_another_name_that_could_be_that_of_a_part(
    database: Database, joining: RootWatch, inbox: Path
) -> None:
    put(inbox, talk_05=1.0)
    look(joining, 0.0, 10.0)
    before = newest(database).id
    (inbox / "talk_05.MP4").rename(inbox / "new_talk_05.MP4")
    look(joining, 20.0, 30.0)
    assert [(job.id, job.path) for job in queries.list_jobs(database)] == [(before, "new_talk_05.MP4")]


def counts(database: Database) -> list[tuple[str, int]]:
    return sorted((job.path, job.part_count) for job in queries.list_jobs(database))


def test_a_part_in_the_middle_that_changes_is_read(database: Database, joining: RootWatch, inbox: Path) -> None:
    put(inbox, GX010042=1.2, GX020042=1.1, GX030042=0.6)
    look(joining, 0.0, 10.0)
    before = newest(database).id
    put(inbox, GX020042=1.0)
    look(joining, 20.0, 30.0, 40.0)
    assert counts(database) == [(FIRST, 2), (FIRST, 2)]
    assert queries.job(database, before).state is JobState.CANCELLED
    assert parts.of_job(database, newest(database).id)[0].size == (inbox / SECOND).stat().st_size


def test_a_part_that_grows_and_is_a_recording_by_itself_ends_the_joined_one_at_once(
    database: Database, joining: RootWatch, inbox: Path, context: WorkerContext
) -> None:
    put(inbox, GX010042=1.2, GX020042=1.0, GX030042=0.6)
    look(joining, 0.0, 10.0)
    before = newest(database).id
    put(inbox, GX020042=2.0)
    look(joining, 20.0, 30.0)
    cpu_tasks.prepare_job(context, before)
    assert counts(database) == [(FIRST, 0), (SECOND, 0), (THIRD, 0)]
    assert f"{SECOND} has changed since it was admitted" in [*events_of(database, before)][-1].detail
    assert parts.of_job(database, before) == ()


@on_sqlite
def test_a_first_file_that_becomes_shorter_loses_none_of_the_others(
    database: Database, joining: RootWatch, inbox: Path, context: WorkerContext
) -> None:
    put(inbox, GX010042=1.2, GX020042=1.0)
    look(joining, 0.0, 10.0)
    put(inbox, GX010042=0.4)
    look(joining, 20.0, 30.0)
    cpu_tasks.prepare_job(context, newest(database).id)
    assert counts(database) == [(FIRST, 0), (FIRST, 0), (SECOND, 0)]


@on_sqlite
def test_files_that_stay_changed_and_that_nobody_admits_are_recordings_by_themselves_in_the_end(
    database: Database, joining: RootWatch, inbox: Path, context: WorkerContext
) -> None:
    put(inbox, GX010042=1.2, GX020042=1.0)
    look(joining, 0.0, 10.0)
    put(inbox, GX010042=0.4)
    for _ in range(context.settings.failed_attempts):
        assert counts(database) == [(FIRST, 1)]
        cpu_tasks.prepare_job(context, newest(database).id)
        make_due(context)
    assert counts(database) == [(FIRST, 0), (SECOND, 0)]


def decoded(folder: Path, sources: Sequence[Path | int]) -> Decoded:
    """The files as one recording; a number is the size of a file that cannot be read."""
    found = [
        PartToDecode("gone.wav", source, "", "it is gone")
        if isinstance(source, int)
        else PartToDecode(source.name, source.stat().st_size, str(source))
        for source in sources
    ]
    return in_parts.decode(found, folder / "out.flac", folder, 3600, Listening())


def test_all_parts_have_one_gain(tmp_path: Path) -> None:
    loud = speech(tmp_path / "loud.wav", 1.0)
    sound, rate = soundfile.read(loud)
    soundfile.write(tmp_path / "quiet.wav", sound / 8, rate)
    decoded(tmp_path, [loud, tmp_path / "quiet.wav"])
    spooled, rate = soundfile.read(tmp_path / "out.flac")
    assert abs(spooled[:rate]).mean() / abs(spooled[rate:]).mean() == pytest.approx(8, rel=0.05)


def test_a_part_that_cannot_be_read_is_as_long_as_its_size_says_wherever_it_stands(tmp_path: Path) -> None:
    there = speech(tmp_path / "a.wav", 1.0)
    size = there.stat().st_size
    found = decoded(tmp_path, [2 * size, there, size, there])
    assert [(part.start, part.duration, part.problem) for part in found.parts] == [
        (0.0, 2.0, "it is gone"),
        (2.0, 1.0, ""),
        (3.0, 1.0, "it is gone"),
        (4.0, 1.0, ""),
    ]
    assert found.duration == 5.0
    assert [(span.start, span.end) for span in found.damaged] == [(0.0, 2.0), (3.0, 4.0)]
    assert soundfile.info(tmp_path / "out.flac").duration == 5.0


def test_a_part_that_breaks_off_leaves_a_gap_before_the_next(tmp_path: Path) -> None:
    there = speech(tmp_path / "a.wav", 1.0)
    short = tmp_path / "short.wav"
    short.write_bytes(there.read_bytes()[: there.stat().st_size // 2])
    found = decoded(tmp_path, [short, there])
    assert found.parts[1].start == pytest.approx(1.0, abs=0.01)
    assert [(span.start, span.end) for span in found.damaged] == [
        (pytest.approx(0.5, abs=0.01), pytest.approx(1.0, abs=0.01))
    ]
    assert not found.truncated


def test_the_last_part_that_breaks_off_breaks_off_the_recording(tmp_path: Path) -> None:
    there = speech(tmp_path / "a.wav", 1.0)
    short = tmp_path / "short.wav"
    short.write_bytes(there.read_bytes()[: there.stat().st_size // 2])
    found = decoded(tmp_path, [there, short])
    assert (found.truncated, found.claimed_duration) == (True, pytest.approx(2.0, abs=0.01))


def test_parts_of_another_sample_rate_are_refused_with_both(tmp_path: Path) -> None:
    there = speech(tmp_path / "a.wav", 1.0)
    sound, _ = soundfile.read(there)
    soundfile.write(tmp_path / "b.wav", sound[::2], 8000)
    with pytest.raises(PartsDifferError, match=r"b\.wav is .*8000 Hz.*before .*16000 Hz"):
        decoded(tmp_path, [there, tmp_path / "b.wav"])


def test_where_no_part_can_be_read_the_recording_is_none(tmp_path: Path) -> None:
    with pytest.raises(NotMediaError, match="it is gone"):
        decoded(tmp_path, [100, 200])
