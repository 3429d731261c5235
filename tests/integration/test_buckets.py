"""Buckets of S3, on moto's server: listed, read, transcribed, written; nothing lost and nothing doubled."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from dropscribe.admin.check import doctor
from dropscribe.admin.check.checks import Severity
from dropscribe.admin.context import EmbeddedContext
from dropscribe.admin.local import up
from dropscribe.admin.state import exit_status
from dropscribe.core import bucket_client
from dropscribe.core.bucket_client import Bucket
from dropscribe.core.bucket_names import BucketFolder
from dropscribe.core.errors import UsageError
from dropscribe.core.queue import Doorbell
from dropscribe.core.s3_settings import S3
from dropscribe.core.settings import Settings
from dropscribe.core.types import JobState, SpeakerNames
from dropscribe.scheduler.service import Scheduler
from dropscribe.scheduler.watching import admission
from dropscribe.scheduler.watching.bucket_watch import BucketWatch
from dropscribe.store import jobs, queries, speakers, tables
from dropscribe.store.roots import list_roots, report_roots
from dropscribe.store.session import Database
from dropscribe.worker import cpu_tasks, model_tasks
from dropscribe.worker.finishing.bucket_place import BucketPlace
from tests.e2e.harness import speech, wait_until
from tests.integration.console import Cli
from tests.integration.one_worker import Died, MakeContext, carry_through, make_due
from tests.s3_server import moto_server

NUMBERS = count()
ONE_STORE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)  # what the other knows is the same


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with moto_server() as url:
        yield url


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return speech(tmp_path_factory.mktemp("sound") / "talk.wav", 2.0).read_bytes()


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")


@dataclass
class Cloud:
    """A bucket of its own for each test, as its users see it."""

    url: str
    client: Any
    name: str

    @property
    def settings(self) -> Settings:
        return Settings(stable_seconds_network=1, outputs=("json", "txt")).having(S3(endpoint=self.url))

    def put(self, key: str, data: bytes, **how: str) -> str:
        return str(self.client.put_object(Bucket=self.name, Key=key, Body=data, **how)["ETag"])

    def get(self, key: str) -> bytes:
        return bytes(self.client.get_object(Bucket=self.name, Key=key)["Body"].read())

    def keys(self) -> set[str]:
        return {one["Key"] for one in self.client.list_objects_v2(Bucket=self.name).get("Contents", ())}


@pytest.fixture
def cloud(server: str) -> Cloud:
    made = Cloud(server, Bucket(Settings().having(S3(endpoint=server)), "any")._client, f"bucket-{next(NUMBERS)}")
    made.client.create_bucket(Bucket=made.name)
    return made


Watch = Callable[..., BucketWatch]


@pytest.fixture
def watch(cloud: Cloud, database: Database, doorbell: Doorbell) -> Watch:
    def make(folder: str = "in", **changes: object) -> BucketWatch:
        def admit(root, whole, gone, folders):
            return admission.admit(database, doorbell, folders, root, whole, gone).refused

        settings = cloud.settings.model_copy(update=changes)
        known = partial(jobs.known, database)
        return BucketWatch(BucketFolder(cloud.name, folder), settings, database, known, admit, threading.Event())

    return make


@pytest.fixture
def make_worker(cloud: Cloud, make_context: MakeContext) -> MakeContext:
    return lambda results="", **changes: make_context(
        outputs=("json", "txt"), own={S3.table: S3(endpoint=cloud.url, results=results)}, **changes
    )


def look(watch: BucketWatch, times: int = 2) -> None:
    """Looks far enough apart for what does not change."""
    for _ in range(times):
        watch.look(next(NUMBERS) * 10.0)


def all_jobs(database: Database) -> dict[str, queries.Job]:
    return {job.source: job for job in queries.list_jobs(database)}


@ONE_STORE
def test_an_object_is_admitted_once_two_listings_agree_and_done_when_its_transcript_is_in_the_bucket(
    cloud: Cloud, watch: Watch, make_worker: MakeContext, database: Database, sound: bytes
) -> None:
    for key in ("in/talk.wav", "in/2026/", "in/notes.txt", "in/.trash/a.wav", "in/a.wav.part", "out/b.wav"):
        cloud.put(key, sound)
    cloud.put("in/code.ts", b"export const Gain = 1;" * 100)
    watching = watch()
    look(watching, 1)
    assert (watching.report.pending, all_jobs(database)) == (2, {})
    look(watching, 1)
    (job,) = all_jobs(database).values()
    assert job.source == f"s3://{cloud.name}/in/talk.wav"
    told = watching.report
    assert (told.online, told.pending, told.not_media, told.ignored) == (True, 0, 1, 2)
    before = cloud.keys()
    ended = carry_through(make_worker(), job.id)
    assert (ended.state, ended.reason) == (JobState.DONE, "")
    assert cloud.keys() - before == {"in/talk.json", "in/talk.txt"}
    document = json.loads(cloud.get("in/talk.json"))
    assert document["source"]["path"] == job.source
    assert document["source"]["sha256"] == hashlib.sha256(sound).hexdigest()
    for again in (watching, watch()):  # the second knows what the store knows
        look(again, 3)
    assert all_jobs(database).keys() == {job.source}
    assert watching.report.not_media == 1


def test_keys_that_no_filesystem_has_are_recordings_like_any_other(
    cloud: Cloud, watch: Watch, make_worker: MakeContext, database: Database, sound: bytes, tmp_path: Path
) -> None:
    long = "in/" + "é" * 508 + ".wav"
    assert len(long.encode()) == 1023
    odd = ["in/a/../../b.wav", "in//c.wav", "in/./d.wav", "in/%2e%2e/e+f g.wav", "in/../../../g.wav", long]
    for key in odd:
        cloud.put(key, sound)
    look(watch())
    found = all_jobs(database)
    assert {name.removeprefix(f"s3://{cloud.name}/") for name in found} == {*odd}
    worker, before = make_worker(), {*tmp_path.rglob("*.txt")}
    for job in (*found.values(), *found.values()):  # the one that leads, then those that follow it
        carry_through(worker, job.id)
    assert {job.state for job in all_jobs(database).values()} == {JobState.DONE, JobState.DUPLICATE}
    texts = {key for key in sorted(cloud.keys()) if key.endswith(".txt")}
    assert len(texts) == len(odd)
    assert {"in/a/../../b.txt", "in//c.txt", "in/../../../g.txt"} < texts
    assert {*tmp_path.rglob("*.txt")} == before


@ONE_STORE
def test_nothing_of_others_is_overwritten_and_what_somebody_edited_is_theirs(
    cloud: Cloud, watch: Watch, make_worker: MakeContext, database: Database, sound: bytes
) -> None:
    cloud.put("in/talk.wav", sound)
    cloud.put("in/talk.txt", b"my own notes")
    look(watch())
    (job,) = all_jobs(database).values()
    worker = make_worker()
    carry_through(worker, job.id)
    assert cloud.get("in/talk.txt") == b"my own notes"
    assert {"in/talk.json", "in/talk.wav.txt"} < cloud.keys()
    before = cloud.get("in/talk.json")
    cloud.put("in/talk.wav.txt", b"edited")
    speakers.say(database, job.id, SpeakerNames({0: "Ada"}))
    cpu_tasks.finish_job(worker, job.id)
    assert cloud.get("in/talk.wav.txt") == b"edited"
    assert b"Ada" in cloud.get(f"in/talk.wav.{job.id}.txt")
    assert b"Ada" in cloud.get("in/talk.json")
    assert b"Ada" not in before


@ONE_STORE
def test_transcripts_lie_under_the_folder_for_results_each_below_that_of_its_recording(
    cloud: Cloud,
    watch: Watch,
    make_worker: MakeContext,
    cli: Cli,
    store: Database,
    sound: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cloud.put("in/may/talk.wav", sound)
    look(watch())
    (job,) = all_jobs(store).values()
    carry_through(make_worker(results="transcripts"), job.id)
    assert {"transcripts/in/may/talk.json", "transcripts/in/may/talk.txt"} < cloud.keys()
    content = Bucket.content
    fetched = []
    monkeypatch.setattr(Bucket, "content", lambda self, key: fetched.append(key) or content(self, key))
    place = BucketPlace(job, cloud.settings.having(S3(endpoint=cloud.url, results="transcripts")))
    target = f"s3://{cloud.name}/transcripts/in/may/talk.txt"
    digest = place.digest(target)
    assert digest == hashlib.sha256(cloud.get("transcripts/in/may/talk.txt")).hexdigest()
    assert (place.stands(target, digest), place.stands(target, "another")) == (True, False)
    assert fetched == ["transcripts/in/may/talk.txt"]
    for index, named in enumerate((job.source, f"s3://{cloud.name}/in/may/", f"s3://{cloud.name}")):
        exported = cli("export", named, "--to", str(tmp_path / str(index)), "--format", "txt")
        assert exported.code == 0, exported.err
        assert (tmp_path / str(index) / "in" / "may" / "talk.txt").read_bytes() == cloud.get(
            "transcripts/in/may/talk.txt"
        )
    said = cli("export", f"s3://{cloud.name}/other", "--to", str(tmp_path / "none"), "--format", "txt").err
    assert f"no recording in s3://{cloud.name}/other has a transcript" in said


@ONE_STORE
def test_a_worker_that_dies_after_it_wrote_leaves_the_objects_to_the_next_which_writes_none_again(
    cloud: Cloud, watch: Watch, make_worker: MakeContext, database: Database, sound: bytes, monkeypatch
) -> None:
    cloud.put("in/talk.wav", sound)
    look(watch())
    (job,) = all_jobs(database).values()
    worker = make_worker()

    def died(*_: object, **__: object) -> None:
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(jobs, "complete", died)
        with pytest.raises(Died):
            carry_through(worker, job.id)
    versions = {
        key: cloud.client.head_object(Bucket=cloud.name, Key=key)["LastModified"] for key in sorted(cloud.keys())
    }
    with database.begin() as connection:
        connection.execute(tables.jobs.update().values(owner=None, lease_until=None))
    puts = []
    monkeypatch.setattr(Bucket, "_put", lambda *given: puts.append(given))
    assert carry_through(worker, job.id).state is JobState.DONE
    assert puts == []
    assert cloud.keys() == versions.keys()


@ONE_STORE
def test_an_object_that_is_replaced_gets_a_job_for_its_new_content_and_none_for_the_same(
    cloud: Cloud, watch: Watch, make_worker: MakeContext, database: Database, sound: bytes, tmp_path: Path
) -> None:
    cloud.put("in/talk.wav", sound)
    watching = watch()
    look(watching)
    (first,) = all_jobs(database).values()
    other = speech(tmp_path / "other.wav", 2.0, seed=9).read_bytes()
    worker = make_worker()
    cloud.put("in/talk.wav", other)  # after it was admitted, before it is read: what is there then is read
    assert carry_through(worker, first.id).sha256 == hashlib.sha256(other).hexdigest()
    look(watching, 3)
    assert len(queries.list_jobs(database)) == 1
    with database.begin() as connection:  # a second later by the clock of the server
        connection.execute(tables.jobs.update().values(mtime_ns=tables.jobs.c.mtime_ns - 10**9, identity="e" * 32))
    look(watch(), 3)
    assert len(queries.list_jobs(database)) == 1
    cloud.put("in/talk.wav", sound)
    look(watching, 3)
    newest = queries.list_jobs(database)[0]
    assert newest.id != first.id
    assert carry_through(worker, newest.id).state is JobState.DONE
    assert {key for key in sorted(cloud.keys()) if key.endswith(".json")} == {"in/talk.json"}
    assert json.loads(cloud.get("in/talk.json"))["job_id"] == newest.id


@ONE_STORE
def test_an_object_of_many_parts_is_known_by_its_etag_like_any_other(
    cloud: Cloud, watch: Watch, make_worker: MakeContext, database: Database, sound: bytes
) -> None:
    upload = cloud.client.create_multipart_upload(Bucket=cloud.name, Key="in/talk.wav")["UploadId"]
    parts = (sound + bytes(5_300_000 - len(sound)), sound)  # S3 takes 5 MiB at least, but for the last
    given: dict[str, Any] = {"Bucket": cloud.name, "Key": "in/talk.wav", "UploadId": upload}
    etags = [
        cloud.client.upload_part(**given, PartNumber=number, Body=part)["ETag"] for number, part in enumerate(parts, 1)
    ]
    watching = watch()
    look(watching)
    assert all_jobs(database) == {}
    whole = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(etags, 1)]
    done = cloud.client.complete_multipart_upload(**given, MultipartUpload={"Parts": whole})
    assert done["ETag"].endswith('-2"')
    look(watching)
    (job,) = all_jobs(database).values()
    cpu_tasks.prepare_job(make_worker(), job.id)
    assert queries.job(database, job.id).sha256 == hashlib.sha256(b"".join(parts)).hexdigest()
    look(watch(), 3)
    assert len(queries.list_jobs(database)) == 1


@ONE_STORE
def test_a_bucket_that_is_away_is_told_like_a_share_and_its_jobs_wait_for_it(
    cloud: Cloud, watch: Watch, make_worker: MakeContext, database: Database, sound: bytes
) -> None:
    cloud.put("in/talk.wav", sound)
    watching, worker = watch(), make_worker()
    look(watching)
    (job,) = all_jobs(database).values()
    cloud.client.delete_object(Bucket=cloud.name, Key="in/talk.wav")
    cloud.client.delete_bucket(Bucket=cloud.name)
    look(watching)
    assert not watching.report.online
    assert "there is no such bucket" in watching.report.reason
    assert watching.rest > 10
    for _ in range(4):  # more often than a job may fail
        make_due(worker)
        cpu_tasks.prepare_job(worker, job.id)
    waiting = queries.job(database, job.id)
    assert (waiting.state, waiting.failures) == (JobState.QUEUED, 0)
    assert "there is no such bucket" in waiting.reason
    cloud.client.create_bucket(Bucket=cloud.name)
    cloud.put("in/talk.wav", sound)
    look(watching)
    assert watching.report.online
    make_due(worker)
    assert carry_through(worker, job.id).state is JobState.DONE


@ONE_STORE
def test_a_bucket_that_goes_away_before_the_transcript_is_written_gets_it_later(
    cloud: Cloud, watch: Watch, make_worker: MakeContext, database: Database, sound: bytes
) -> None:
    cloud.put("in/talk.wav", sound)
    look(watch())
    (job,) = all_jobs(database).values()
    worker = make_worker()
    gone = make_worker()
    object.__setattr__(gone, "settings", gone.settings.having(S3(endpoint="http://127.0.0.1:9")))
    cpu_tasks.prepare_job(worker, job.id)
    model_tasks.transcribe_chunk(worker, f"{job.id}.0")
    cpu_tasks.finish_job(gone, job.id)
    waiting = queries.job(database, job.id)
    assert (waiting.state, waiting.failures) == (JobState.FINISHING, 0)
    assert "its server does not answer" in waiting.reason
    make_due(worker)
    cpu_tasks.finish_job(worker, job.id)
    assert queries.job(database, job.id).state is JobState.DONE
    assert cloud.keys() >= {"in/talk.txt"}


@ONE_STORE
def test_an_object_that_is_archived_or_gone_fails_with_what_to_do(
    cloud: Cloud, watch: Watch, make_worker: MakeContext, database: Database, sound: bytes
) -> None:
    cloud.put("in/cold.wav", sound, StorageClass="GLACIER")
    cloud.put("in/gone.wav", sound)
    cloud.put("in/empty.wav", b"")
    look(watch(), 5)
    cloud.client.delete_object(Bucket=cloud.name, Key="in/gone.wav")
    found = all_jobs(database)
    worker = make_worker(failed_attempts=1)
    for job in found.values():
        carry_through(worker, job.id)
    reasons = {job.path: job.reason for job in all_jobs(database).values() if job.state is JobState.FAILED}
    assert "it is archived in the bucket; restore it, then retry the job" in reasons["cold.wav"]
    assert "it is not there" in reasons["gone.wav"]
    assert "is empty" in reasons["empty.wav"]


@ONE_STORE
def test_a_huge_folder_is_listed_page_by_page_and_half_a_listing_says_nothing(
    cloud: Cloud, watch: Watch, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket_client, "PAGE", 5)
    for number in range(12):
        cloud.put(f"in/{number}.wav", b"x")
    pages = [*Bucket(cloud.settings, cloud.name).listed(BucketFolder(cloud.name, "in"))]
    assert [*map(len, pages)] == [5, 5, 2]
    watching = watch()
    watching.stop.set()
    look(watching, 1)
    assert not watching.report.online
    watching.stop.clear()
    look(watching)
    assert watching.report.files == len(queries.list_jobs(database)) == 12


@ONE_STORE
def test_only_the_tables_of_the_operator_say_what_holds_in_a_bucket(
    cloud: Cloud, watch: Watch, database: Database, sound: bytes
) -> None:
    cloud.put("in/hr/talk.wav", sound)
    cloud.put("in/.dropscribe.toml", b'context = "theirs"\npriority = "high"\n')
    table = {"context": "the operator's", "when_done": "archive", "results": "elsewhere"}
    look(watch(folders={f"s3://{cloud.name}/in/hr": table}))
    (job,) = all_jobs(database).values()
    assert (job.context, job.priority) == ("the operator's", "normal")
    assert (job.overrides.archives, job.overrides.folder) == (False, None)


@ONE_STORE
def test_commands_find_a_recording_by_its_whole_name(
    cloud: Cloud, watch: Watch, cli: Cli, store: Database, sound: bytes
) -> None:
    cloud.put("in/talk.wav", sound)
    watching = watch()
    look(watching)
    report_roots(store, [watching.report])
    (job,) = all_jobs(store).values()
    name = f"s3://{cloud.name}/in"
    assert cli("show", f"{name}/talk.wav", "--json").json["id"] == job.id
    assert [one["id"] for one in cli("jobs", "--folder", name, "--json").json["jobs"]] == [job.id]
    assert name in cli("status").out
    assert "it is admitted once two listings agree on it" in cli("show", f"{name}/other.wav").err
    assert "no watched folder has s3://nowhere/a.wav" in cli("show", "s3://nowhere/a.wav").err
    assert "watch its folder" in cli("submit", f"{name}/talk.wav").err


@ONE_STORE
def test_what_is_forgotten_with_its_transcripts_is_gone_from_the_bucket_but_for_what_was_edited(
    cloud: Cloud,
    watch: Watch,
    make_worker: MakeContext,
    cli: Cli,
    store: Database,
    sound: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cloud.put("in/talk.wav", sound)
    look(watch())
    (job,) = all_jobs(store).values()
    carry_through(make_worker(), job.id)
    cloud.put("in/talk.txt", b"edited")
    monkeypatch.setenv("DROPSCRIBE_S3_ENDPOINT", "http://127.0.0.1:9")
    assert "cannot be reached" in cli("forget", f"{job.source}", "--outputs", "--yes").err
    monkeypatch.setenv("DROPSCRIBE_S3_ENDPOINT", cloud.url)
    assert cli("forget", f"{job.source}", "--outputs", "--yes").code == 0
    assert cloud.keys() == {"in/talk.wav", "in/talk.txt"}
    look(watch(), 3)
    assert all_jobs(store) == {}


@ONE_STORE
def test_a_transcript_that_lies_in_the_bucket_is_taken_over_where_the_store_was_lost(
    cloud: Cloud, watch: Watch, make_worker: MakeContext, database: Database, sound: bytes
) -> None:
    cloud.put("in/talk.wav", sound)
    look(watch())
    (first,) = all_jobs(database).values()
    worker = make_worker()
    carry_through(worker, first.id)
    with database.begin() as connection:  # as an empty store would have it
        for table in (tables.outputs, tables.transcripts, tables.chunks, tables.jobs):
            connection.execute(table.delete())
    look(watch())
    (again,) = all_jobs(database).values()
    cpu_tasks.prepare_job(worker, again.id)
    cpu_tasks.finish_job(worker, again.id)  # no model in between
    assert queries.job(database, again.id).state is JobState.DONE
    assert {key for key in sorted(cloud.keys()) if key != "in/talk.wav"} == {"in/talk.json", "in/talk.txt"}
    assert json.loads(cloud.get("in/talk.json"))["job_id"] == again.id


@ONE_STORE
def test_a_scheduler_watches_folders_of_buckets_beside_those_of_its_machine(
    cloud: Cloud, database: Database, settings: Settings, sound: bytes, tmp_path: Path
) -> None:
    cloud.put("in/talk.wav", sound)
    (tmp_path / "inbox").mkdir()
    (tmp_path / "inbox" / "near.wav").write_bytes(sound)
    changes = {"stable_seconds_network": 0.1, "stable_seconds": 0.1}
    own = settings.model_copy(update=changes).having(S3(endpoint=cloud.url, list_seconds=0.1))
    folders = [Path(f"s3://{cloud.name}/in"), tmp_path / "inbox"]
    scheduler = Scheduler(own, database, folders, "scheduler")
    running = threading.Thread(target=scheduler.run)
    running.start()
    try:
        wait_until("both recordings", lambda: len(queries.list_jobs(database)) == 2)
        wait_until("both folders", lambda: exit_status.is_drained(list_roots(database), folders, 0))
    finally:
        scheduler.stop()
        running.join()
    assert [job.path for job in exit_status.latest_jobs(database, folders[:1])] == ["talk.wav"]
    with pytest.raises(UsageError, match="watch only the outer one"):
        Scheduler(own, database, [folders[0], Path(f"s3://{cloud.name}")], "scheduler")


def test_up_refuses_a_bucket_that_it_cannot_list_unless_it_is_to_wait(cloud: Cloud) -> None:
    named = [BucketFolder(cloud.name, ""), BucketFolder("nowhere", "in")]
    with pytest.raises(UsageError, match=r"there is no such bucket.*--wait-for-folders"):
        up.examined_buckets(cloud.settings, named, up.Expected())
    there, awaited = up.examined_buckets(cloud.settings, named, up.Expected(awaited=True))
    assert (there.reason, "there is no such bucket" in awaited.reason) == ("", True)
    assert up.as_named([there.path]) == [Path(f"s3://{cloud.name}")]


@ONE_STORE
def test_doctor_asks_the_bucket_itself(cloud: Cloud, watch: Watch, database: Database) -> None:
    watching = watch()
    look(watching, 1)
    report_roots(database, [watching.report])
    context = EmbeddedContext(cloud.settings.having(S3(endpoint=cloud.url, results="texts")), database)
    (finding,) = doctor.folders(context, list_roots(database))
    assert (finding.level, finding.finding) == (Severity.OK, f"s3, 0 files, results to s3://{cloud.name}/texts")
    cloud.client.delete_bucket(Bucket=cloud.name)
    (finding,) = doctor.folders(context, list_roots(database))
    assert finding.level is Severity.FAIL
    assert "there is no such bucket" in finding.finding
