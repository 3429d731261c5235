"""How packages are installed that dropscribe can do without: as a command that works where it runs."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]  # of the checkout, where this is one
PINNED = "constraints.txt"


def how_to_install(extra: str) -> str:
    """The command that installs the packages of an extra of pyproject.toml, or of several with commas between.

    dropscribe is on no package index: the command names the checkout that runs, or is to be typed in one.
    """
    python = f"{shlex.quote(sys.executable)} -m pip install"
    if (ROOT / PINNED).is_file():
        return f"{python} -c {shlex.quote(str(ROOT / PINNED))} -e {shlex.quote(f'{ROOT}[{extra}]')}"
    return f"in a checkout of dropscribe, {python} -c {PINNED} '.[{extra}]'"
