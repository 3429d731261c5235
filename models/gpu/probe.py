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
from dataclasses import asdict, dataclass
from typing import Any

from dropscribe.core import child_process, gpus
from dropscribe.models.gpu import cuda_support
from dropscribe.models.gpu.cuda_support import CudaSupport

SECONDS = 180  # for all packages together; torch takes some on a cold disk
COMPUTE = "--compute"
OURS = "probe: "  # begins a line of the report


@dataclass(frozen=True, slots=True)
class PackageImport:
    """A package that was imported: its version, and why it cannot be imported if it cannot."""

    package: str
    version: str
    error: str = ""


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """What came of each package, and what the one that computes can do with CUDA; None where that was not tried."""

    imports: tuple[PackageImport, ...]
    support: CudaSupport | None = None


@dataclass(frozen=True, slots=True)
class Probe:
    """A child process at work: `packages` are imported, and `computes_with` is tried on the GPU with that UUID."""

    packages: Sequence[str]
    process: subprocess.Popen[bytes]

    @classmethod
    def start(cls, packages: Sequence[str], computes_with: str = "", gpu: str = "") -> Probe:
        """Begin; without a `gpu`, nothing is computed. Raises OSError."""
        environment = {**os.environ, **child_process.import_path(), gpus.VARIABLE: gpu}
        wanted = [COMPUTE, computes_with] if gpu and computes_with else []
        process = child_process.start(
            "models.gpu.probe",
            *packages,
            *wanted,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        return cls(packages, process)

    def end(self) -> ProbeReport:
        """Wait for the report; what takes too long is killed."""
        try:
            written, _ = self.process.communicate(timeout=SECONDS)
            why = _ending(self.process.returncode)
        except subprocess.TimeoutExpired:
            self.process.kill()
            written, _ = self.process.communicate()
            why = f"it takes longer than {SECONDS} s"
        return _report(self.packages, list(_documents(written)), why)


def _documents(written: bytes) -> Iterator[dict[str, Any]]:
    """The lines of ours among what libraries may print."""
    for line in written.decode(errors="replace").splitlines():
        if line.startswith(OURS):
            yield json.loads(line.removeprefix(OURS))


def _report(packages: Sequence[str], documents: Sequence[dict[str, Any]], why: str) -> ProbeReport:
    imports = [PackageImport(**one) for one in documents if "error" in one]
    if len(imports) < len(packages):  # the child ended in the midst of the next one
        imports.append(PackageImport(packages[len(imports)], "", why or "the import ends the process"))
    support = next((one for one in documents if "said" in one), None)
    return ProbeReport(tuple(imports), CudaSupport(**support) if support else None)


def _ending(status: int) -> str:
    return f"it ends the process with {signal.Signals(-status).name}" if status < 0 else ""


def imported(package: str) -> PackageImport:
    """Import a package here."""
    try:
        module = importlib.import_module(package)
    except Exception as error:  # noqa: BLE001 (whatever a broken installation raises is the answer)
        first = str(error).strip().partition("\n")[0]
        return PackageImport(package, "", f"{type(error).__name__}: {first}")
    return PackageImport(package, str(getattr(module, "__version__", "")) or _installed(package))


def _installed(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def main(arguments: Sequence[str]) -> int:
    """`PACKAGE... [--compute PACKAGE]`."""
    child_process.die_with_parent(signal.SIGKILL)
    split = arguments.index(COMPUTE) if COMPUTE in arguments else len(arguments)
    for package in arguments[:split]:
        _write(imported(package))
    for package in arguments[split + 1 :]:
        _write(cuda_support.examine(package))
    return 0


def _write(result: PackageImport | CudaSupport) -> None:
    sys.stdout.write(f"{OURS}{json.dumps(asdict(result))}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
