"""The guides' blocks do what they say: each that is not marked runs, in order, as a newcomer would type it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.documents import REPOSITORY, blocks, make_targets
from tests.e2e.harness import DOUBLES, SHORT

GUIDES = ("README.md", *(f"docs/{page}.md" for page in ("index", "install", "first-transcripts", "speakers", "fleet")))


def runnable() -> list[str]:
    """Blocks for bash that need nothing special; make's would install packages and are checked elsewhere."""
    found = [block for guide in GUIDES for block in blocks((REPOSITORY / guide).read_text(encoding="utf-8"))]
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


def test_the_blocks_of_the_guides_run_in_order(tmp_path: Path) -> None:
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
    assert (tmp_path / "news.json").exists()
    show = ["dropscribe", "show", str(tmp_path / "news.mp3"), "--json"]
    shown = subprocess.run(show, env=newcomer(tmp_path), capture_output=True, text=True, check=True)
    assert json.loads(shown.stdout)["context"].startswith("Ada")
    assert any("dropscribe.toml" in one for one in said)
    assert "Alice" in said[-1]
