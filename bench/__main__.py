"""`make bench`: every measurement of what dropscribe itself costs, one after the other, in about four minutes.

Run as `python -m bench [NAME...]`. Each is a module of its own; `python -m bench.NAME --help` shows its options.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence

OVERHEADS = {
    "throughput": "recordings, chunks and messages a second",
    "admission": "files admitted a second",
    "idle": "CPU use of watching a quiet folder",
    "status": "how long `dropscribe status` takes",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run each in a process of its own, so that none warms or burdens the next; returns the worst exit status."""
    names = _parse(argv).names or list(OVERHEADS)
    return max(_measure(name) for name in names)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.splitlines()[0] if __doc__ else "")
    known = "; ".join(f"{name}: {what}" for name, what in OVERHEADS.items())
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which ones, all unless given ({known})")
    options = parser.parse_args(argv)
    if unknown := set(options.names) - set(OVERHEADS):
        parser.error(f"there is no measurement {', '.join(sorted(unknown))}; one of {', '.join(OVERHEADS)}")
    return options


def _measure(name: str) -> int:
    print(f"\n=== {name}: {OVERHEADS[name]}", flush=True)
    return subprocess.run([sys.executable, "-m", f"bench.{name}"], check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main())
