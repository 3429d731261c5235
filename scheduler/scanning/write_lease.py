"""Does somebody have a file open for writing? On local filesystems a read lease tells, which is given back at once."""

from __future__ import annotations

import fcntl
import signal
import sys
from contextlib import suppress
from pathlib import Path

from dropscribe.core.safe_open import descriptor_of


def has_writer(descriptor: int) -> bool | None:
    """Does anybody have the file, which is open here for reading only, open for writing?

    None where the kernel does not say: it says so of this user's own files, and of all with CAP_LEASE. Of use on local
    filesystems only, as a network filesystem may refuse a lease for other reasons.
    """
    if sys.platform != "linux":
        return None
    try:
        # Who opens the file while the lease lasts waits that long, and we are sent a signal: one that ends nobody.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except BlockingIOError:
        return True
    except OSError:  # another user's file, or a filesystem without leases
        return None
    fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False


def is_written(path: Path) -> bool | None:
    """The same of the file at a path, through no link; None also where it cannot be opened."""
    with suppress(OSError), descriptor_of(path) as descriptor:
        return has_writer(descriptor)
    return None
