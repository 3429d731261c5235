"""A wall clock that can be stepped: a library of a few lines that is loaded before libc, with its offset in a file.

The monotonic clock goes on undisturbed, as it does when an administrator or NTP steps the wall clock.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>

static volatile long *step;  /* seconds */

__attribute__((constructor)) static void begin(void) {
    int file = open(getenv("STEP_FILE"), O_RDONLY | O_CLOEXEC);
    if (file >= 0) step = mmap(0, sizeof(long), PROT_READ, MAP_SHARED, file, 0);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, now);
    if (step && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += *step;
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec exact;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *where) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (where) *where = now.tv_sec;
    return now.tv_sec;
}
"""


class Clock:
    """The wall clock of the processes that are started with `environment`."""

    def __init__(self, folder: Path) -> None:
        """Needs a C compiler; skips the test where there is none."""
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            pytest.skip("stepping a clock needs a C compiler")
        self._file = folder / "step"
        self._file.write_bytes(struct.pack("l", 0))
        self._file.chmod(0o644)
        library = folder / "clock.so"
        subprocess.run(
            [compiler, "-shared", "-fPIC", "-O1", "-x", "c", "-", "-o", library, "-ldl"],
            input=SOURCE.encode(),
            check=True,
        )
        self.environment = {"LD_PRELOAD": str(library), "STEP_FILE": str(self._file)}

    def set(self, seconds: int) -> None:
        """Let it be so many seconds ahead of the true time; negative for behind."""
        with self._file.open("r+b") as file:
            file.write(struct.pack("l", seconds))
