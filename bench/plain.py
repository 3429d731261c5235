"""What people write themselves: faster-whisper in a loop, or in a Celery task, with a text file for each recording.

Run by `bench.rivals` as `python -m bench.plain loop|celery MODEL COMPUTE_TYPE [BROKER]`. The loop reads paths from
standard input, and answers each with a line. The Celery worker is as Celery makes it: its settings, one process.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from faster_whisper import WhisperModel

READY = "ready"
TASK, QUEUE = "plain.transcribe", "plain"

Transcribe = Callable[[str], None]


def main(arguments: list[str]) -> int:
    """Serve until standard input or the process ends."""
    way, model, kind = arguments[:3]
    transcribe = _loaded(model, kind)
    if way == "loop":
        print(READY, flush=True)
        for line in sys.stdin:
            transcribe(line.strip())
            print("done", flush=True)
        return 0
    return _work(transcribe, arguments[3])


def _loaded(model: str, kind: str) -> Transcribe:
    """Whisper with what dropscribe asks it for too: five beams, and the times of words."""
    whisper = WhisperModel(model, "cpu", compute_type=kind, cpu_threads=len(os.sched_getaffinity(0)))

    def transcribe(path: str) -> None:
        """Write the text beside the recording."""
        heard, _ = whisper.transcribe(path, beam_size=5, word_timestamps=True, condition_on_previous_text=False)
        lines = [f"{segment.start:.2f} {segment.end:.2f} {segment.text.strip()}\n" for segment in heard]
        Path(f"{path}.txt").write_text("".join(lines), encoding="utf-8")

    return transcribe


def _work(transcribe: Transcribe, broker: str) -> int:
    from celery import Celery

    app = Celery("plain", broker=broker)
    app.conf.task_default_queue = QUEUE
    app.task(transcribe, name=TASK)
    worker = app.Worker(pool="solo", quiet=True)
    worker.start()
    return int(worker.exitcode or 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
