"""Packages of npm that tests need: fetched once for a clone into build/, and held against a hash."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tarfile
from pathlib import Path

from tests.conftest import missing

ROOT = Path(__file__).parents[1]


def package(name: str, version: str, sha512: str) -> Path:
    """The package's file in build/."""
    kept = ROOT / "build" / f"{name}-{version}.tgz"
    if not kept.is_file():
        npm = shutil.which("npm")
        if npm is None:
            missing("npm")
        kept.parent.mkdir(exist_ok=True)
        command = [str(npm), "pack", f"{name}@{version}", "--silent", "--pack-destination", str(kept.parent)]
        if subprocess.run(command, check=False, capture_output=True).returncode:
            missing(f"{name}, which npm cannot fetch here,")
    assert hashlib.sha512(kept.read_bytes()).hexdigest() == sha512
    return kept


def file_of(archive: Path, path: str) -> bytes:
    """One file of a package."""
    with tarfile.open(archive) as opened:
        member = opened.extractfile(f"package/{path}")
        assert member is not None
        return member.read()
