"""The README's blocks do what it says: each that is not marked runs, in order, as a newcomer would type it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.documents import REPOSITORY, blocks, make_targets
from tests.e2e.harness import DOUBLES, SHORT


def runnable() -> list[str]:
    """Blocks for bash that need nothing special; make's would install packages and are checked elsewhere."""
    found = blocks((REPOSITORY / "README.md").read_text(encoding="utf-8"))
    return [
        block.body for block in found if block.language == "bash" and not block.needs and not make_targets(block.body)
    ]


def newcomer(folder: Path) -> dict[str, str]:
    """The environment of somebody who has just installed dropscribe, with short waits and the scripted model."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("DROPSCRIBE_")}
    own = SHORT | DOUBLES | {"HOME": str(folder / "state")}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return (
        inherited | {f"DROPSCRIBE_{name}": value for name, value in own.items()} | {"HOME": str(folder), "PATH": path}
    )


def test_the_blocks_of_the_readme_run_in_order(tmp_path: Path) -> None:
    (tmp_path / "samples").symlink_to(REPOSITORY / "samples")
    said = []
    for block in runnable():
        ran = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block],
            cwd=tmp_path, env=newcomer(tmp_path), capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert ran.returncode == 0, f"{block}\n{ran.stdout}\n{ran.stderr}"
        said.append(ran.stdout)
    recordings = {path.name for path in (tmp_path / "recordings").iterdir()}
    assert recordings == {"weather.flac", *(f"weather.{fmt}" for fmt in ("json", "txt", "srt", "vtt", "tsv", "html"))}
    assert json.loads((tmp_path / "news.json").read_text(encoding="utf-8"))["settings"]["context"].startswith("Ada")
    assert "dropscribe.toml" in said[-1]
