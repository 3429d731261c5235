"""`make demo`: the samples in a scratch copy, transcribed by the real thing from folder to files, and scored.

Run as `python -m bench.demo`; exits with the status of `dropscribe up --drain`, or 1 when too many words are wrong.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from bench import wer

SAMPLES = Path(__file__).parents[1] / "samples"
DROPSCRIBE = [sys.executable, "-m", "dropscribe"]
MAX_WRONG = "10"  # percent of words


def main() -> int:
    """Run the demo; returns the exit status."""
    with tempfile.TemporaryDirectory(prefix="dropscribe-demo-") as scratch:
        inbox = Path(scratch) / "inbox"
        shutil.copytree(SAMPLES, inbox, ignore=shutil.ignore_patterns("references", "*.py", "*.md", "__pycache__"))
        environment = os.environ | {"DROPSCRIBE_HOME": str(Path(scratch) / "state"), "DROPSCRIBE_STABLE_SECONDS": "2"}
        status = dropscribe(environment, "up", str(inbox), "--drain")
        for recording in sorted(inbox.glob("*.json")):
            print(f"\n--- {recording.with_suffix('.txt').name}", flush=True)
            print(recording.with_suffix(".txt").read_text(encoding="utf-8"), end="", flush=True)
        print(flush=True)
        scored = wer.main([str(inbox), "--references", str(SAMPLES / "references"), "--max", MAX_WRONG])
    return status or scored


def dropscribe(environment: dict[str, str], *arguments: str) -> int:
    """Run the command line as a user would."""
    return subprocess.run([*DROPSCRIBE, *arguments], env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
