"""`make bench`: every measurement of what dropscribe itself costs, one after the other, in about eight minutes.

Run as `python -m bench [NAME...]`. Each is a module of its own; `python -m bench.NAME --help` shows its options.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence

OVERHEADS = {
    "throughput": "recordings, chunks and messages a second",
    "decoding": "CPU time of decoding a recording, in a process of its own and without",
    "admission": "files admitted a second",
    "idle": "CPU use of watching a quiet folder",
    "status": "CPU time of `dropscribe status`, `jobs`, `show` and `--version`",
    "long": "time and memory of a ten-hour recording, besides the model",
}
OTHERS = {
    "gate": "false and true alarms of the checks of a transcript",
    "confidence": "false and true alarms of the check by confidence (an hour)",
    "overload": "50,000 recordings dropped at once (three minutes)",
    "readers": "how long 50 readers of the server wait while 1,000 recordings are transcribed (two minutes)",
    "page": "how a browser does with the page of a ten-hour recording (a minute)",
    "encoder": "the audio encoders of VibeVoice-ASR: bytes for a second of audio, beside transformers' own",
    "whisper": "Whisper on a CPU: CTranslate2 beside transformers",
    "rivals": "what dropscribe adds to faster-whisper for a recording, beside a loop and a Celery task (ten minutes)",
    "speakers": "who spoke, in recordings cut in every way, and what telling it costs (ten minutes)",
    "scale": "one long and many short recordings over 1 to 32 workers, with a history of jobs (twenty minutes)",
    "space": "bytes of each job that ended in SQLite and PostgreSQL, by table and index (a minute)",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run each in a process of its own, so that none warms or burdens the next; returns the worst exit status."""
    names = _parse(argv).names or list(OVERHEADS)
    return max(_measure(name) for name in names)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.splitlines()[0] if __doc__ else "")
    known = "; ".join(f"{name}: {what}" for name, what in (OVERHEADS | OTHERS).items())
    which = f"which ones; unless given, the first {len(OVERHEADS)} of: {known}"
    parser.add_argument("names", nargs="*", metavar="NAME", help=which)
    options = parser.parse_args(argv)
    if unknown := set(options.names) - set(OVERHEADS | OTHERS):
        parser.error(f"there is no measurement {', '.join(sorted(unknown))}; one of {', '.join(OVERHEADS | OTHERS)}")
    return options


def _measure(name: str) -> int:
    print(f"\n=== {name}: {(OVERHEADS | OTHERS)[name]}", flush=True)
    return subprocess.run([sys.executable, "-m", f"bench.{name}"], check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main())
