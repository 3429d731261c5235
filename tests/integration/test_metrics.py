"""Metrics as Prometheus sees them: scraped by HTTP and parsed, from a real store and a real worker."""

from __future__ import annotations

import logging
import re
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from sqlalchemy import event, update

from dropscribe.core import metrics
from dropscribe.core.errors import SettingsError
from dropscribe.core.event_kinds import EventKind
from dropscribe.core.settings import Settings
from dropscribe.core.types import EngineInfo, JobState
from dropscribe.models.scripted.transcriber import Script
from dropscribe.scheduler.duties.metrics import LOOK_SECONDS, StoreCollector
from dropscribe.store import fleet, jobs, queries, recovery, switches, tables
from dropscribe.store.events import note
from dropscribe.store.roots import RootReport, report_roots
from dropscribe.store.session import Database, open_database
from dropscribe.worker import cpu_tasks, model_tasks
from dropscribe.worker.runtime.counters import Counters
from dropscribe.worker.runtime.metrics import WorkerCollector
from tests.documents import REPOSITORY
from tests.integration.one_worker import MakeContext, admit, carry_through, make_due

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


class Clock:
    """Moves when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def with_port(settings: Settings, **changes: object) -> Settings:
    return settings.model_copy(update={"metrics_port": free_port()} | changes)


def scrape(url: str) -> list[Metric]:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return list(text_string_to_metric_families(answer.read().decode()))


def values(families: list[Metric]) -> Samples:
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


def value(found: Samples, name: str, **labels: str) -> float:
    return found[f"dropscribe_{name}", tuple(sorted(labels.items()))]


@contextmanager
def scraped(settings: Settings, collector: Collector) -> Iterator[str]:
    with metrics.served(with_port(settings), collector) as url:
        assert url
        yield url


def look(collector: StoreCollector, clock: Clock, url: str) -> Samples:
    """What a scrape tells when the last look is long enough ago."""
    clock.now += LOOK_SECONDS
    return values(scrape(url))


def test_a_scheduler_tells_what_happened_to_recordings(
    make_context: MakeContext, recording: Path, settings: Settings, database: Database
) -> None:
    context, clock = make_context(), Clock()
    collector = StoreCollector(database, settings, clock=clock)
    with scraped(settings, collector) as url:
        assert value(look(collector, clock, url), "jobs_ended_total", state="done") == 0
        job_id = admit(context, recording)
        waiting = look(collector, clock, url)
        assert value(waiting, "jobs", state="queued") == 1
        assert value(waiting, "oldest_job_age_seconds", state="queued") > 0
        cpu_tasks.prepare_job(context, job_id)
        prepared = look(collector, clock, url)
        assert value(prepared, "backlog_audio_seconds") == pytest.approx(6, abs=0.1)
        assert value(prepared, "waiting_audio_seconds") == value(prepared, "backlog_audio_seconds"), "the old name"
        carry_through(context, job_id)
        look(collector, clock, url)
        after = look(collector, clock, url)
        assert value(after, "jobs", state="done") == 1
        assert value(after, "jobs_ended_total", state="done") == 1
        assert value(after, "transcribed_audio_seconds_total") == pytest.approx(6, abs=0.1)
        assert value(after, "backlog_audio_seconds") == value(after, "waiting_audio_seconds") == 0
        assert [value(after, "attempts_total", step=step) for step in ("prepare", "transcribe", "finish")] == [1, 1, 1]
        again = look(collector, clock, url)
        assert value(again, "attempts_total", step="prepare") == 1, "nothing is counted twice"


def test_what_goes_wrong_is_counted_by_its_cause(
    make_context: MakeContext, recording: Path, settings: Settings, database: Database
) -> None:
    context, clock = make_context(Script(behave="loop"), min_chunk_seconds=1.0, max_halvings=1), Clock()
    collector = StoreCollector(database, settings, clock=clock)
    with scraped(settings, collector) as url:
        look(collector, clock, url)
        assert carry_through(context, admit(context, recording)).state is JobState.SUSPECT
        look(collector, clock, url)
        found = look(collector, clock, url)
        attempts = value(found, "attempts_total", step="transcribe")
        assert value(found, "failed_quality_checks_total", check="loop") == attempts > 1
        assert value(found, "failed_checks_total", rule="loop") == attempts, "the old name"
        assert value(found, "jobs_ended_total", state="suspect") == 1

        lost = admit(context, recording.rename(recording.with_name("lost.wav")))
        jobs.claim_prepare(database, lost, "gone", 90)
        assert recovery.expire_of(database, "gone", 1) == 1
        look(collector, clock, url)
        found = look(collector, clock, url)
        assert value(found, "lease_expiries_total") == 1
        assert value(found, "jobs", state="parked") == value(found, "jobs_ended_total", state="parked") == 1


def test_workers_folders_and_switches_are_told_as_they_are(settings: Settings, database: Database) -> None:
    clock = Clock()
    collector = StoreCollector(database, settings, clock=clock)
    for name, state in (("a", "ready"), ("b", "ready"), ("c", "loading"), ("d", "ready")):
        fleet.register(database, name, host="h", pid=1, role="model", state=state)
    with database.begin() as connection:
        beat = update(tables.workers).where(tables.workers.c.id == "d")
        connection.execute(beat.values(heartbeat_at=tables.now() - settings.silence_seconds - 1))
    report_roots(
        database,
        [
            RootReport("/rec", "h", "ext4", online=True, files=9, pending=2, scan_seconds=0.5),
            RootReport("/nas/\udcff\n", "h", "nfs4", online=False, reason="away"),
        ],
    )
    switches.pause(database)
    with scraped(settings, collector) as url:
        found = look(collector, clock, url)
    assert value(found, "workers", role="model", state="ready") == 2
    assert value(found, "workers", role="model", state="loading") == 1
    assert value(found, "workers", role="model", state="silent") == 1
    assert value(found, "folder_online", folder="/rec", host="h") == 1
    assert value(found, "folder_files", folder="/rec", host="h", kind="recordings") == 9
    assert value(found, "folder_files", folder="/rec", host="h", kind="pending") == 2
    assert value(found, "folder_scan_seconds", folder="/rec", host="h") == 0.5
    assert value(found, "folder_scan_age_seconds", folder="/rec", host="h") >= 0
    assert value(found, "folder_online", folder=r"/nas/\udcff\n", host="h") == 0, "a name that is no text does no harm"
    assert (value(found, "paused"), value(found, "spool_full"), value(found, "store_up")) == (1, 0, 1)


def test_many_scrapes_share_one_look_of_few_queries(settings: Settings, database: Database) -> None:
    clock = Clock()
    collector = StoreCollector(database, settings, clock=clock)
    queries_made: list[str] = []
    event.listen(database.engine, "before_cursor_execute", lambda *found: queries_made.append(found[2]))
    with scraped(settings, collector) as url:
        for _ in range(5):
            scrape(url)
        look(collector, clock, url)
        fleet.register(database, "a", host="h", pid=1, role="model", state="ready")
        queries_made.clear()
        for _ in range(5):
            look(collector, clock, url)
            scrape(url)
    asked = [query for query in queries_made if query.startswith(("SELECT", "WITH"))]
    assert len(asked) <= 5 * 10


def test_a_store_that_is_away_is_told_and_comes_back(settings: Settings, tmp_path: Path) -> None:
    clock, url_of_store = Clock(), f"sqlite:///{tmp_path / 'state' / 'x.db'}"
    open_database(url_of_store).close()
    database = Database(url_of_store)
    collector = StoreCollector(database, settings, clock=clock)
    with scraped(settings, collector) as url:
        assert value(look(collector, clock, url), "store_up") == 1
        database.close()
        (tmp_path / "state").rename(tmp_path / "away")
        found = look(collector, clock, url)
        assert value(found, "store_up") == 0
        assert ("dropscribe_jobs", (("state", "done"),)) not in found
        (tmp_path / "away").rename(tmp_path / "state")
        assert value(look(collector, clock, url), "store_up") == 1
    database.close()


def test_a_worker_tells_what_it_does(make_context: MakeContext, recording: Path, settings: Settings) -> None:
    context = make_context()
    told = WorkerCollector("w", "model", "GPU-1", context.tally, 4, EngineInfo("scripted", "none", "fp32"), 1.5)
    with scraped(settings, told) as url:
        with context.tally.doing("transcribe"):
            assert value(values(scrape(url)), "worker_slots_in_use") == 1
        carry_through(context, admit(context, recording))
        found = values(scrape(url))
    assert value(found, "worker_slots_in_use") == 0
    assert value(found, "worker_slots") == 4
    assert value(found, "worker_tasks_total", task="transcribe", result="done") == 2
    assert value(found, "worker_audio_seconds_total") == pytest.approx(6, abs=0.1)
    assert value(found, "worker_busy_seconds_total") >= 0
    assert value(found, "worker_model_load_seconds") == 1.5
    labels = {"worker": "w", "role": "model", "gpu": "GPU-1", "engine": "scripted", "model": "none"}
    assert value(found, "worker_info", **labels, precision="fp32") == 1
    assert found["process_resident_memory_bytes", ()] > 0


def test_a_task_that_fails_and_one_that_is_stopped_are_told_apart(make_context: MakeContext, recording: Path) -> None:
    context = make_context(Script(behave="error", first_n=1))
    job_id = admit(context, recording)
    cpu_tasks.prepare_job(context, job_id)
    model_tasks.transcribe_chunk(context, f"{job_id}.0")
    make_due(context)
    context.keeper.shut_down()
    model_tasks.transcribe_chunk(context, f"{job_id}.0")
    assert queries.job(context.database, job_id).state is JobState.TRANSCRIBING
    assert context.tally.ended == {("prepare", "done"): 1, ("transcribe", "failed"): 1, ("transcribe", "stopped"): 1}
    assert context.tally.under_way == 0


def test_a_heartbeat_gets_what_came_since_the_one_before() -> None:
    tally = Counters()
    tally.read(30.0, 2.0, prompt=7, output=9)
    assert tally.take() == (30.0, 2.0)
    tally.read(10.0, 1.0)
    assert tally.take() == (10.0, 1.0)
    assert tally.take() == (0.0, 0.0)
    assert (tally.audio, tally.prompt_tokens, tally.output_tokens) == (40.0, 7, 9)


# The endpoint


class Nothing(Collector):
    def collect(self) -> list[Metric]:
        return []


def test_without_a_port_nothing_is_served(settings: Settings) -> None:
    assert settings.metrics_port == 0
    with metrics.served(settings, Nothing()) as url:
        assert url == ""


def test_several_processes_take_one_port_after_the_other_and_give_them_back(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    chosen = with_port(settings)
    with (
        caplog.at_level(logging.INFO),
        metrics.served(chosen, Nothing()) as one,
        metrics.served(chosen, Nothing()) as two,
    ):
        assert one == f"http://127.0.0.1:{chosen.metrics_port}/metrics"
        assert two != one
        assert scrape(one)
        assert scrape(two)
    assert f"metrics are at {two}" in caplog.text
    with metrics.served(chosen, Nothing()) as again:
        assert again == one
    with pytest.raises(urllib.error.URLError):
        scrape(one)


def test_where_no_port_is_free_the_process_works_without(
    settings: Settings, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "PORTS_TRIED", 1)
    chosen = with_port(settings)
    with metrics.served(chosen, Nothing()), metrics.served(chosen, Nothing()) as url:
        assert url == ""
    assert "are all taken" in caplog.text


@pytest.mark.parametrize("address", ["192.0.2.1", "no.such.host.invalid"])
def test_an_address_of_somebody_else_is_refused_by_name(settings: Settings, address: str) -> None:
    chosen = with_port(settings, metrics_address=address)
    with (
        pytest.raises(SettingsError, match=rf"{address}.*DROPSCRIBE_METRICS_ADDRESS"),
        metrics.served(chosen, Nothing()),
    ):
        pass


def test_the_old_metric_of_checks_has_their_old_names(
    make_context: MakeContext, recording: Path, settings: Settings, database: Database
) -> None:
    context, clock = make_context(), Clock()
    collector = StoreCollector(database, settings, clock=clock)
    job_id = admit(context, recording)
    with scraped(settings, collector) as url:
        look(collector, clock, url)
        with database.begin() as connection:
            note(connection, job_id, EventKind.FAILED_CHECKS, rules=["speech_rate"], where="model-1")
            note(connection, job_id, EventKind.FAILED_CHECKS, rules=["pace"], where="one of the version before")
        look(collector, clock, url)
        found = look(collector, clock, url)
    assert value(found, "failed_quality_checks_total", check="speech_rate") == 2
    assert value(found, "failed_checks_total", rule="pace") == 2


def test_all_addresses_are_named_by_the_host(settings: Settings) -> None:
    with metrics.served(with_port(settings, metrics_address="0.0.0.0"), Nothing()) as url:
        assert url.startswith(f"http://{socket.gethostname()}:")
        assert scrape(url.replace(socket.gethostname(), "127.0.0.1"))


# The document


def documented() -> dict[str, tuple[str, frozenset[str]]]:
    """Type and labels of each metric in the tables of docs/metrics.md."""
    text = (REPOSITORY / "docs" / "metrics.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(dropscribe_\w+)` \| (\w+) \|([^|]*)\|", text, re.MULTILINE)
    return {name: (kind, frozenset(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}


def test_the_document_lists_exactly_the_metrics_there_are(
    settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dropscribe.models.gpu.memory.look", lambda: None)
    worker = WorkerCollector("w", "model", "", Counters())
    families = [*StoreCollector(database, settings).collect(), *worker.collect()]
    found = {
        family.name + ("_total" if family.type == "counter" else ""): (family.type, frozenset(family._labelnames))
        for family in families
    }
    assert documented() == found


def test_every_name_and_help_follows_the_conventions(settings: Settings, database: Database) -> None:
    for family in [
        *StoreCollector(database, settings).collect(),
        *WorkerCollector("w", "model", "", Counters()).collect(),
    ]:
        assert re.fullmatch(r"dropscribe_[a-z]+(_[a-z]+)*", family.name)
        assert family.documentation.endswith(".")
        assert not re.search(r"_(ms|milliseconds|minutes|mb|gb)\b", family.name)
