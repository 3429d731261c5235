"""Recordings of tones, no two alike, and the transcripts that an undisturbed worker makes of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dropscribe.core.queue import Doorbell
from dropscribe.core.settings_loading import load
from dropscribe.core.store_settings import PREFIX
from dropscribe.models import registry
from dropscribe.store.session import open_database
from dropscribe.worker.preparing import decode
from dropscribe.worker.runtime.context import CircuitBreaker, WorkerContext
from dropscribe.worker.runtime.counters import Counters
from dropscribe.worker.runtime.lease import LeaseKeeper
from tests import tones
from tests.faults.fleet import HEARS, SHORT
from tests.integration import one_worker

FORMATS = ("json", "txt", "srt", "vtt", "tsv")
# What an undisturbed run and a disturbed one may tell differently.
OWN = ("job_id", "created_at", "timings")
OWN_OF_ENGINE = ("load_seconds", "memory_held", "memory_free")


@dataclass
class Recordings:
    """Recordings `000.wav`, `001.wav`, ... in `folder`, made when first asked for, and their transcripts."""

    folder: Path
    seed: int = 0
    settings: Mapping[str, str] = field(default_factory=dict)
    _expected: dict[str, dict[str, Any]] = field(default_factory=dict)
    _context: WorkerContext | None = None

    def put(self, inbox: Path, *numbers: int) -> list[str]:
        """Lay recordings into an inbox, whole at once; returns their names."""
        names = [f"{number:03}.wav" for number in numbers]
        for number, name in zip(numbers, names, strict=True):
            partial = inbox / f".{name}.part"
            shutil.copy2(self.made(number), partial)
            partial.rename(inbox / name)
        return names

    def made(self, number: int) -> Path:
        """The recording of that number: 2 to 20 s."""
        path = self.folder / f"{number:03}.wav"
        if not path.exists():
            seconds = 2 + (number * 7 + self.seed) % 16
            tones.write(path, tones.turns(seconds, seed=self.seed + number))
        return path

    def expected(self, name: str) -> dict[str, Any]:
        """What `told` finds beside a recording that was read without any fault."""
        if name not in self._expected:
            context = self._worker()
            source = self.made(int(Path(name).stem))
            job_id = one_worker.admit(context, source)
            assert one_worker.carry_through(context, job_id).state == "done"
            self._expected[name] = told(source)
        return self._expected[name]

    def _worker(self) -> WorkerContext:
        if self._context is None:
            own = {"HOME": str(self.folder / "undisturbed"), "SPEAKER_ENCODER": "none"} | SHORT | dict(self.settings)
            own["SCRIPTED_SCRIPT"] = HEARS  # says the same, and sooner
            settings = load({PREFIX + name: value for name, value in own.items()})
            database = open_database(settings.database)
            keeper = LeaseKeeper(database, lease=600, renew=600, beat=lambda: None)
            model = registry.create("scripted", settings)
            doorbell = Doorbell(settings)
            doorbell.ring = lambda *_, **__: None  # type: ignore[method-assign]  # its tasks are called by hand
            self._context = WorkerContext(
                settings,
                database,
                doorbell,
                keeper,
                "undisturbed",
                model,
                Counters(),
                CircuitBreaker(3),
                one_worker.die,
                zygote=decode.new_zygote(),
            )
        return self._context

    def close(self) -> None:
        """Close the store of the undisturbed run, and what decodes for it."""
        if self._context:
            if self._context.zygote:
                self._context.zygote.close()
            self._context.database.close()


def told(recording: Path) -> dict[str, Any]:
    """The transcripts beside a recording: bytes, and of the JSON what does not depend on the run."""
    found: dict[str, Any] = {fmt: recording.with_suffix(f".{fmt}").read_bytes() for fmt in FORMATS}
    document = json.loads(found["json"])
    for name in OWN:
        del document[name]
    for name in OWN_OF_ENGINE:
        del document["engine"][name]
    document["source"]["path"] = Path(document["source"]["path"]).name
    del document["settings"]["digest"]  # it tells how slowly the scripted model was told to read
    return found | {"json": document}
