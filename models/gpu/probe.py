"""Imports packages in a child process and lets one of them compute: what crashes there crashes nobody else.

The child writes a line of JSON for each step before the next begins, so that a crash has a name too.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from operator import attrgetter
from typing import Any

from dropscribe.core import child_process, gpus
from dropscribe.models.gpu import cuda_support
from dropscribe.models.gpu.cuda_support import CudaSupport

SECONDS = 180  # for all packages together; torch takes some on a cold disk
COMPUTE = "--compute"
IMPORTED, COMPUTED = "imported: ", "computed: "  # begin a line of the report


@dataclass(frozen=True, slots=True)
class PackageImport:
    """A package that was imported: its version, and why it cannot be imported if it cannot."""

    package: str
    version: str
    error: str = ""

    def __str__(self) -> str:
        """In words."""
        return f"{self.package} cannot be imported: {self.error}" if self.error else f"{self.package} {self.version}"


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """What came of each package, and what the one that computes can do with CUDA; None where that was not tried.

    `ending` is how the child ended where all packages were imported and it was to compute, but did not come to tell.
    """

    imports: tuple[PackageImport, ...]
    support: CudaSupport | None = None
    ending: str = ""


@dataclass(frozen=True, slots=True)
class Probe:
    """A child process at work: `packages` are imported, and where it `computes`, one is tried on a GPU."""

    packages: Sequence[str]
    process: subprocess.Popen[bytes]
    computes: bool = False

    @classmethod
    def start(cls, packages: Sequence[str], computes_with: str = "", gpu: str = "") -> Probe:
        """Begin; `computes_with` is tried on the GPU with the UUID `gpu`, if there is one. Raises OSError."""
        environment = {**os.environ, **child_process.import_path(), **gpus.device_order(), gpus.VARIABLE: gpu}
        wanted = [COMPUTE, computes_with] if gpu and computes_with else []
        process = child_process.start(
            "models.gpu.probe",
            *packages,
            *wanted,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        return cls(packages, process, bool(wanted))

    def end(self) -> ProbeReport:
        """Wait for the report; what takes too long is killed."""
        try:
            written, _ = self.process.communicate(timeout=SECONDS)
            why = _ending(self.process.returncode)
        except subprocess.TimeoutExpired:
            self.process.kill()
            written, _ = self.process.communicate()
            why = f"it takes longer than {SECONDS} s"
        report = _report(self.packages, written, why)
        is_silent = not report.support and not any(map(attrgetter("error"), report.imports))
        return replace(report, ending=why) if self.computes and is_silent else report


def _written(written: bytes, mark: str) -> Iterator[dict[str, Any]]:
    """What the child wrote behind a mark of ours, among what libraries may print."""
    for line in written.decode(errors="replace").splitlines():
        if line.startswith(mark):
            yield json.loads(line.removeprefix(mark))


def _report(packages: Sequence[str], written: bytes, why: str) -> ProbeReport:
    """What a probe found, by what it wrote before it ended; `why` it ended, where it did so too early."""
    imports = [PackageImport(**one) for one in _written(written, IMPORTED)]
    crashed = [PackageImport(package, "", why) for package in packages[len(imports) :][:1]]
    support = [CudaSupport(**one) for one in _written(written, COMPUTED)]
    return ProbeReport((*imports, *crashed), next(iter(support), None))


def _ending(status: int) -> str:
    """How a probe ended that did not end well.

    >>> _ending(-9)
    'it ends the process with SIGKILL'
    """
    names = {-number: f"it ends the process with {number.name}" for number in signal.Signals}
    return names.get(status, "it ends the process")


def imported(package: str) -> PackageImport:
    """Import a package here."""
    try:
        module = importlib.import_module(package)
    except Exception as error:  # noqa: BLE001 (whatever a broken installation raises is the answer)
        first = str(error).strip().partition("\n")[0]
        return PackageImport(package, "", f"{type(error).__name__}: {first}")
    return PackageImport(package, str(getattr(module, "__version__", "")) or _installed(package))


def _installed(package: str) -> str:
    """The version of a package; empty where it is not installed."""
    with suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(package)
    return ""


def main(arguments: Sequence[str]) -> int:
    """`PACKAGE... [--compute PACKAGE]`."""
    child_process.die_with_parent(signal.SIGKILL)
    packages, _, computing = " ".join(arguments).partition(COMPUTE)
    for package in packages.split():
        _write(IMPORTED, imported(package))
    for package in computing.split():
        _write(COMPUTED, cuda_support.examine(package))
    return 0


def _write(mark: str, result: PackageImport | CudaSupport) -> None:
    """Write a result for the process that asked."""
    sys.stdout.write(f"{mark}{json.dumps(asdict(result))}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
