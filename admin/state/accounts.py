"""Who does what is kept: the account of this process."""

from __future__ import annotations

import os
import pwd
from contextlib import suppress


def own_account() -> str:
    """The name of this process's account, or its number where it has no name."""
    number = os.geteuid()
    with suppress(KeyError):
        return pwd.getpwuid(number).pw_name
    return str(number)
