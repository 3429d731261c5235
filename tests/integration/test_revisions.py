"""Corrections by people: kept revision by revision on both databases, written into every file, and never lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import event

from dropscribe.admin.act import correct, rerun
from dropscribe.admin.context import EmbeddedContext
from dropscribe.admin.state import transcript_documents
from dropscribe.core import corrections
from dropscribe.core.corrections import SpeakerEdit, TextEdit
from dropscribe.core.errors import DropscribeError, EditConflictError, UsageError
from dropscribe.core.event_kinds import EventKind
from dropscribe.core.settings_loading import load
from dropscribe.core.types import JobState, SpeakerNames
from dropscribe.store import commands, jobs, notifications, queries, revisions, speakers
from dropscribe.store.events import events_of
from dropscribe.store.revisions import NewRevision
from dropscribe.store.session import Database
from dropscribe.worker import cpu_tasks
from tests.integration.console import Cli, admit, document, done, finish, finish_again, read
from tests.integration.one_worker import MakeContext, carry_through
from tests.integration.one_worker import admit as admit_file

TEXTS = ("good morning", "good evening", "good night")


def text(number: int, *, who: str = "ann") -> NewRevision:
    return NewRevision(who, corrections.stored([TextEdit(0, TEXTS[number])]), summary="1 text")


def said(database: Database, job_id: str) -> list[str]:
    """The texts that were corrected, in order, of what the job's transcript has now."""
    number = queries.job(database, job_id).revision
    return [edit["text"] for edit in revisions.corrections(database, job_id, number).edits]


def test_revisions_are_kept_one_after_the_other_and_each_can_be_taken_back(database: Database) -> None:
    job_id = done(database, "a.wav")
    for number in range(3):
        assert revisions.add(database, job_id, text(number)) == number + 1
    assert said(database, job_id) == [*TEXTS]
    assert revisions.undo(database, job_id, "bob") == 4
    assert said(database, job_id) == [*TEXTS[:2]]
    assert revisions.undo(database, job_id, "bob") == 5
    assert said(database, job_id) == [TEXTS[0]]
    revisions.add(database, job_id, text(2))
    assert said(database, job_id) == [TEXTS[0], TEXTS[2]]
    assert revisions.add(database, job_id, NewRevision("bob", back_to=3)) == 7
    assert said(database, job_id) == [*TEXTS]
    for _ in range(3):
        revisions.undo(database, job_id, "bob")
    assert said(database, job_id) == []
    with pytest.raises(UsageError, match="there is nothing left to undo"):
        revisions.undo(database, job_id, "bob")
    with pytest.raises(UsageError, match="there is no revision 99"):
        revisions.add(database, job_id, NewRevision("bob", back_to=99))
    history = revisions.listing(database, job_id)
    assert [(one.number, one.who, one.back_to) for one in history[:4]] == [
        (1, "ann", None), (2, "ann", None), (3, "ann", None), (4, "bob", 2)
    ]  # fmt: skip
    assert len(history) == 10


def test_names_are_taken_back_like_texts_and_stay_when_a_text_is(database: Database) -> None:
    job_id = done(database, "a.wav")
    speakers.say(database, job_id, SpeakerNames({0: "Ada"}), "ann")
    revisions.add(database, job_id, text(0))
    speakers.say(database, job_id, SpeakerNames({0: "Eve"}, {2: 0}), "bob")

    def named() -> SpeakerNames:
        return queries.job(database, job_id).speakers

    assert (named(), said(database, job_id)) == (SpeakerNames({0: "Eve"}, {2: 0}), [TEXTS[0]])
    revisions.undo(database, job_id, "bob")
    assert (named(), said(database, job_id)) == (SpeakerNames({0: "Ada"}), [TEXTS[0]])
    revisions.undo(database, job_id, "bob")
    assert (named(), said(database, job_id)) == (SpeakerNames({0: "Ada"}), [])
    revisions.undo(database, job_id, "bob")
    with database.read() as connection:
        assert (named(), revisions.live(connection, job_id)) == (SpeakerNames(), [])


def test_of_two_who_correct_at_once_the_second_is_told_and_nothing_is_overwritten(database: Database) -> None:
    job_id = done(database, "a.wav")
    seen = revisions.newest(database, job_id)
    revisions.add(database, job_id, text(0), expected=seen)
    with pytest.raises(EditConflictError, match="its revision is now 1, and not 0; load it again"):
        revisions.add(database, job_id, text(1, who="bob"), expected=seen)
    with pytest.raises(EditConflictError):
        revisions.undo(database, job_id, "bob", expected=seen)
    with pytest.raises(EditConflictError):
        speakers.say(database, job_id, SpeakerNames({0: "Eve"}), "bob", expected=seen)
    assert said(database, job_id) == [TEXTS[0]]
    assert [one.who for one in revisions.listing(database, job_id)] == ["ann"]


def test_a_correction_while_the_files_are_written_has_them_written_once_more(database: Database) -> None:
    job_id = done(database, "a.wav")
    revisions.add(database, job_id, text(0))
    claim = jobs.claim_finish(database, job_id, "cpu-1", 90)
    assert claim
    revisions.add(database, job_id, text(1))
    assert jobs.complete(database, claim, JobState.DONE, revision=1) == [job_id]
    job = queries.job(database, job_id)
    assert (job.state, job.owner, job.revision) == (JobState.FINISHING, None, 2)
    again = jobs.claim_finish(database, job_id, "cpu-1", 90)
    assert again
    assert jobs.complete(database, again, JobState.DONE, revision=2) == []
    assert queries.job(database, job_id).state is JobState.DONE


def test_that_somebody_corrected_a_transcript_is_told_in_its_story_and_announced_to_nobody(database: Database) -> None:
    notifications.want(database, {notifications.OF_ALL})
    job_id = done(database, "a.wav")
    before = len(notifications.of_job(database, job_id))
    revisions.add(database, job_id, text(0))
    finish_again(database, job_id, revision=1)
    assert len(notifications.of_job(database, job_id)) == before == 1
    (told,) = [one for one in events_of(database, job_id) if one.kind == EventKind.REVISED]
    assert told.detail == "revision 1 by ann: 1 text"
    speakers.say(database, job_id, SpeakerNames({0: "Ada"}))
    finish_again(database, job_id)
    assert len(notifications.of_job(database, job_id)) == 2, "names are told as before"


def test_what_has_no_transcript_is_not_corrected(database: Database) -> None:
    with pytest.raises(DropscribeError, match="is queued; it is corrected once its transcript is written"):
        revisions.add(database, admit(database, "a.wav"), text(0))


def test_a_retry_that_would_replace_corrections_says_so_and_keeps_them_for_later(database: Database) -> None:
    job_id = done(database, "a.wav", JobState.SUSPECT)
    with database.begin() as connection:
        connection.exec_driver_sql("UPDATE chunks SET reasons = '[\"it looped\"]'")
    revisions.add(database, job_id, text(0))
    finish_again(database, job_id)
    with database.begin() as connection:
        connection.exec_driver_sql("UPDATE jobs SET state = 'suspect'")
    with pytest.raises(
        DropscribeError, match="was corrected, and the parts that failed a check would be transcribed again"
    ):
        commands.retry(database, job_id)
    assert queries.job(database, job_id).state is JobState.SUSPECT
    assert commands.retry(database, job_id, replaces_by="bob") is JobState.TRANSCRIBING
    assert (queries.job(database, job_id).revision, said(database, job_id)) == (2, [])
    assert [one.who for one in revisions.listing(database, job_id)] == ["ann", "bob"]
    assert [edit["text"] for edit in revisions.corrections(database, job_id, 1).edits] == [TEXTS[0]]
    assert correct.document(database, queries.job(database, job_id))["is_replaced"]
    read(database, job_id, text="hello again")
    with pytest.raises(DropscribeError, match="its new transcript is being written; correct it when that is done"):
        revisions.add(database, job_id, text(1), expected=2)
    finish(database, job_id, text="hello again", file=Path("/rec/again.txt"))
    assert revisions.add(database, job_id, text(1), expected=queries.job(database, job_id).revision) == 4
    found = revisions.corrections(database, job_id, 4)
    assert ("hello again" in (found.document or ""), [edit["text"] for edit in found.edits]) == (True, [TEXTS[1]])
    told = correct.document(database, queries.job(database, job_id))
    assert (told["revision"], told["is_replaced"]) == (4, False)


@pytest.fixture
def corrected(make_context: MakeContext, recording: Path) -> tuple[EmbeddedContext, str]:
    """A recording that was transcribed, and of which somebody corrected the first word; its files have it."""
    worker = make_context(outputs=("json", "txt", "srt", "html", "docx"))
    job_id = admit_file(worker, recording)
    assert carry_through(worker, job_id).state is JobState.DONE
    context = EmbeddedContext(worker.settings, worker.database)
    context.doorbell = worker.doorbell
    job = queries.job(worker.database, job_id)
    correct.correct(context, job, [TextEdit(0, "xylophone music")], "ann", expected=0)
    cpu_tasks.finish_job(worker, job_id)
    return context, job_id


def test_a_correction_is_in_every_file_and_found_by_search(
    corrected: tuple[EmbeddedContext, str], recording: Path, cli: Cli, store: Database
) -> None:
    context, job_id = corrected
    written = json.loads(recording.with_suffix(".json").read_text())
    assert (written["revision"], written["segments"][0]["text"]) == (1, "xylophone music")
    assert written["segments"][0]["corrected"] is True
    for ending in (".txt", ".srt", ".html"):
        assert "xylophone music" in recording.with_suffix(ending).read_text()
    assert queries.job(context.database, job_id).state is JobState.DONE
    assert "xylophone" in cli("search", "xylophone").out
    shown = cli("show", job_id).out
    assert "revision 1 by ann" in shown
    assert cli("show", job_id, "--json").json["revision"] == 1


def test_what_was_taken_back_is_as_it_was_to_the_byte(
    corrected: tuple[EmbeddedContext, str], recording: Path, make_context: MakeContext
) -> None:
    context, job_id = corrected
    job = queries.job(context.database, job_id)
    assert correct.undo(context, job, "ann", expected=1) == 2
    cpu_tasks.finish_job(make_context(outputs=("json", "txt")), job_id)
    written = json.loads(recording.with_suffix(".json").read_text())
    assert written.pop("revision") == 2
    fresh = transcript_documents.recognized(context.database, queries.job(context.database, job_id))
    assert written["segments"][0]["text"] == fresh.segments[0].text != "xylophone music"
    assert "corrected" not in written["segments"][0]


def test_passages_and_merges_of_speakers_are_corrected_beside_each_other(
    corrected: tuple[EmbeddedContext, str], make_context: MakeContext
) -> None:
    context, job_id = corrected
    job = queries.job(context.database, job_id)
    number = correct.correct(context, job, [SpeakerEdit(0, 0, 1)], "bob")
    speakers.say(context.database, job_id, SpeakerNames({1: "Eve"}), "bob")
    now = transcript_documents.current(context.database, queries.job(context.database, job_id))
    assert (number, now.segments[0].speaker, now.segments[0].text) == (2, 1, "xylophone music")
    assert [one.name for one in now.speakers if one.number == 1] == ["Eve"]
    told = correct.document(context.database, queries.job(context.database, job_id))
    assert [(one["number"], one["who"]) for one in told["revisions"]] == [(1, "ann"), (2, "bob"), (3, "bob")]
    assert told["revisions"][0]["edits"][0]["before"] != "xylophone music"
    assert told["revisions"][2]["speakers"] == {"names": {1: "Eve"}, "merged": {}}


def test_another_transcript_of_the_recording_takes_no_file_of_a_corrected_one(
    corrected: tuple[EmbeddedContext, str], recording: Path, make_context: MakeContext
) -> None:
    context, job_id = corrected
    seen = queries.job(context.database, job_id)
    wanted = jobs.NewJob(seen.root, seen.path, seen.size, seen.mtime_ns, "other", "normal")
    (other,) = jobs.admit(context.database, [wanted], again=True)
    assert carry_through(make_context(outputs=("txt",)), other).state is JobState.DONE
    assert "xylophone music" in recording.with_suffix(".txt").read_text()
    assert {path.name for path in recording.parent.glob("*.txt")} == {"talk.txt", "talk.wav.txt"}
    assert "xylophone music" not in recording.with_name("talk.wav.txt").read_text()


def test_a_rerun_that_would_replace_corrections_leaves_them_alone_unless_it_is_told_to(
    corrected: tuple[EmbeddedContext, str],
    recording: Path,
    make_context: MakeContext,
    cli: Cli,
    store: Database,
    redis: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    context, job_id = corrected
    monkeypatch.setenv("DROPSCRIBE_ENGINE", load().engine)
    shown = cli("rerun", str(recording))
    assert "left alone (1 correction by ann)" in " ".join(shown.out.split()), shown.out
    assert "--replace-corrections" in shown.err
    assert "1 recording corrected by people, left alone" in cli("rerun", str(recording), "--yes").out
    assert [job.id for job in queries.list_jobs(store)] == [job_id]
    told = cli("rerun", str(recording), "--replace-corrections", "--json").json["recordings"]
    assert [(one["fate"], one["corrections"]) for one in told] == [("read again", 1)]
    cli("rerun", str(recording), "--replace-corrections", "--yes")
    (other,) = [job.id for job in queries.list_jobs(store) if job.id != job_id]
    assert carry_through(make_context(outputs=("txt",)), other).state is JobState.DONE
    assert "xylophone music" not in recording.with_suffix(".txt").read_text()
    assert revisions.listing(store, job_id)[0].who == "ann"
    before = queries.job(store, job_id)
    with pytest.raises(DropscribeError, match="another transcript replaced the one"):
        correct.correct(context, before, [TextEdit(0, "saxophone music")], "ann")
    assert correct.go_back(context, before, 1, "ann") == 3
    cpu_tasks.finish_job(make_context(outputs=("txt",)), job_id)
    assert "xylophone music" in recording.with_suffix(".txt").read_text(), "what was replaced comes back"


def test_corrections_stay_where_the_job_that_was_to_replace_them_could_not_be_made(
    corrected: tuple[EmbeddedContext, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    context, job_id = corrected
    seen = queries.job(context.database, job_id)

    def crash(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("INSERT INTO jobs"):
            raise KeyboardInterrupt

    event.listen(context.database.engine, "before_cursor_execute", crash)
    wanted = jobs.NewJob(seen.root, seen.path, seen.size, seen.mtime_ns, "other", "normal")
    with pytest.raises(KeyboardInterrupt):
        commands.transcribe_again(context.database, job_id, wanted, "bob")
    assert said(context.database, job_id) == ["xylophone music"]
    assert [one.who for one in revisions.listing(context.database, job_id)] == ["ann"]
    event.remove(context.database.engine, "before_cursor_execute", crash)
    ((state, other),) = commands.transcribe_again(context.database, job_id, wanted, "bob") or ()
    assert (state, other == job_id) == (JobState.QUEUED, False)
    assert said(context.database, job_id) == []


def test_corrections_of_an_earlier_job_of_the_recording_are_kept_too(
    corrected: tuple[EmbeddedContext, str], recording: Path, make_context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, job_id = corrected
    seen = queries.job(context.database, job_id)
    wanted = jobs.NewJob(seen.root, seen.path, seen.size, seen.mtime_ns, "other", "normal")
    (newer,) = jobs.admit(context.database, [wanted], again=True)
    carry_through(make_context(outputs=("txt",)), newer)
    with pytest.raises(DropscribeError, match="instead of 1 correction by ann"):
        rerun.rerun_job(context, queries.job(context.database, newer))
    monkeypatch.setattr(revisions, "live_at", lambda *_: [])  # as if somebody had corrected it after the look
    with pytest.raises(DropscribeError, match="it would be transcribed again"):
        rerun.rerun_job(context, queries.job(context.database, newer))
    assert len(queries.list_jobs(context.database)) == 2
    assert said(context.database, job_id) == ["xylophone music"]


def test_a_base_that_is_given_is_what_is_corrected(database: Database) -> None:
    job_id = done(database, "a.wav")
    other = document(job_id, text="as it was recognized")
    revisions.add(database, job_id, text(0), base=other)
    assert revisions.corrections(database, job_id, 1).document == other
