"""Shows an address to anyone who sits at this machine, in the browser of their choice."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Mapping

OPENERS = {"linux": "xdg-open", "darwin": "open"}
DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY")


def is_at_hand(environ: Mapping[str, str], *, at_terminal: bool) -> bool:
    """Does a person sit here, at a terminal and a display of this machine? Browsers refuse to run as root."""
    has_display = sys.platform == "darwin" or any(map(environ.get, DISPLAYS))
    return at_terminal and has_display and "SSH_CONNECTION" not in environ and os.geteuid() != 0


def show(address: str) -> None:
    """Open the address, and wait for nothing; where no program opens addresses, nothing happens."""
    program = shutil.which(OPENERS.get(sys.platform, ""))
    if program:
        threading.Thread(target=_open, args=(program, address), daemon=True).start()


def _open(program: str, address: str) -> None:
    """Nothing that the program says concerns anybody, and a browser in the terminal would be in the way."""
    nowhere = subprocess.DEVNULL
    subprocess.run(  # noqa: S603  (an address of ours)
        [program, address], stdin=nowhere, stdout=nowhere, stderr=nowhere, start_new_session=True, check=False
    )
