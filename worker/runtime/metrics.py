"""What a worker tells Prometheus of itself. docs/metrics.md lists it all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from dropscribe.core.routing import FINISH, PREPARE, TRANSCRIBE
from dropscribe.core.types import EngineInfo
from dropscribe.models.gpu import memory
from dropscribe.worker.runtime.counters import RESULTS, Counters

TASKS_OF = {"cpu": (PREPARE, FINISH), "model": (TRANSCRIBE,)}


@dataclass(eq=False)  # the registry keeps it by identity
class WorkerCollector(Collector):
    """Reads the tally when it is scraped. `slots`, `engine` and `load_seconds` are set once the worker is ready."""

    name: str
    role: str
    gpu: str
    tally: Counters
    slots: int = 0
    engine: EngineInfo | None = None
    load_seconds: float = 0.0

    def collect(self) -> Iterator[Metric]:
        """All families; a CPU worker has none of a model."""
        yield from self._tasks()
        if self.role == "model":
            yield from self._model()
            yield from _gpu_memory()

    def _tasks(self) -> Iterator[Metric]:
        """What the worker is, which tasks have ended how, and how many run."""
        info = GaugeMetricFamily(
            "dropscribe_worker_info",
            "1, with the worker's properties as labels.",
            labels=["worker", "role", "gpu", "engine", "model", "precision"],
        )
        engine = self.engine or EngineInfo("", "", "")
        info.add_metric([self.name, self.role, self.gpu, engine.engine, engine.model, engine.precision], 1)
        yield info
        tasks = CounterMetricFamily(
            "dropscribe_worker_tasks", "Tasks that ended, by name and result.", labels=["task", "result"]
        )
        for task in TASKS_OF[self.role]:
            for result in RESULTS:
                tasks.add_metric([task, result], self.tally.ended[task, result])
        yield tasks
        yield GaugeMetricFamily("dropscribe_worker_slots", "Largest number of tasks at once.", self.slots)
        yield GaugeMetricFamily("dropscribe_worker_slots_in_use", "Tasks that run now.", self.tally.under_way)

    def _model(self) -> Iterator[Metric]:
        """What the model has done, in seconds and tokens."""
        tally = self.tally
        yield CounterMetricFamily(
            "dropscribe_worker_audio_seconds", "Audio that the model has transcribed.", tally.audio
        )
        yield CounterMetricFamily(
            "dropscribe_worker_busy_seconds", "Time spent on that, the sum of all slots.", tally.busy
        )
        tokens = CounterMetricFamily(
            "dropscribe_worker_tokens", "Tokens that the model was given and wrote.", labels=["kind"]
        )
        tokens.add_metric(["prompt"], tally.prompt_tokens)
        tokens.add_metric(["output"], tally.output_tokens)
        yield tokens
        yield GaugeMetricFamily(
            "dropscribe_worker_model_load_seconds", "How long loading the model took; 0 until then.", self.load_seconds
        )


def _gpu_memory() -> Iterator[Metric]:
    """The GPU's memory: held by the model, free, and in all; without a value where there is no GPU."""
    found = memory.look()
    for kind, help_ in (
        ("held", "GPU memory that the model's tensors take."),
        ("free", "GPU memory that is free."),
        ("total", "Total GPU memory."),
    ):
        family = GaugeMetricFamily(f"dropscribe_worker_gpu_memory_{kind}_bytes", help_)
        if found:
            family.add_metric([], getattr(found, kind))
        yield family
