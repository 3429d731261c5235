"""A machine seen from outside: its metrics, its health, and what it tells a receiver."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable

from prometheus_client.parser import text_string_to_metric_families

from dropscribe.core.types import JobState
from dropscribe.store.fleet import list_workers
from tests.e2e.harness import PATIENCE, Machine, speech, wait_until
from tests.integration.test_metrics import free_port
from tests.receiver import receiving


def test_a_machine_tells_how_it_is_and_what_it_has_done(make_machine: Callable[..., Machine]) -> None:
    with receiving() as receiver:
        machine = make_machine(METRICS_PORT=str(free_port()), WEBHOOK_URL=receiver.url, RENEW_SECONDS="2")
        assert machine.run("health").returncode == 1
        machine.up()
        wait_until("all are well", lambda: machine.run("health", "--role", "model").returncode == 0)
        for role in ("scheduler", "cpu"):
            checked = machine.run("health", "--role", role, "--json")
            assert (checked.returncode, json.loads(checked.stdout)["status"]) == (0, "ok"), checked.stdout
        speech(machine.inbox / "a.wav")
        job = machine.wait_for("a.wav", JobState.DONE)
        wait_until("the receiver is told", lambda: receiver.told)
        assert [(told["job"], told["state"]) for told in receiver.told] == [(job.id, "done")]
        urls = {worker.role: worker.metrics for worker in list_workers(machine.database)}
        assert len(set(urls.values())) == 3, "each has a port of its own"
        assert sample(urls["scheduler"], "dropscribe_jobs", state="done") == 1
        assert sample(urls["cpu"], "dropscribe_worker_tasks_total", task="prepare", result="done") == 1
        assert sample(urls["model"], "dropscribe_worker_tasks_total", task="transcribe", result="done") == 1
        assert sample(urls["model"], "dropscribe_worker_slots") >= 1
        status, _ = machine.stop()
        assert status == 0


def sample(url: str, name: str, **labels: str) -> float:
    """One figure of a scrape."""
    with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    (found,) = [s.value for family in families for s in family.samples if s.name == name and s.labels == labels]
    return float(found)
