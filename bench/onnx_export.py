"""How much memory an ONNX export takes: `python -m bench.onnx_export`, on Linux.

The checkpoint is made for it: the published shape with as many layers as wanted, in bf16, all zeros, which take no room
on the disk. The export does (7 GB for all layers in int4), and is removed afterwards.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from bench.random_model import config_of
from dropscribe.models.checkpoints import safetensors_files
from dropscribe.models.onnx import export, graphs
from dropscribe.models.vibevoice.dimensions import PUBLISHED, ModelDimensions
from tests.tiny.checkpoint import build_processor


class Peaks:
    """The most memory of this process in each step of the work, in bytes."""

    def __init__(self) -> None:
        self.before = _resident("VmRSS")
        self.steps: dict[str, tuple[int, int]] = {}  # resident at its beginning, and at most
        self._step = ""

    def tell(self, step: str, _done: int, _total: int) -> None:
        """Hear of the progress."""
        if step != self._step:
            self.end()
            self._step = step
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forgets the peak so far
            self.steps[step] = (_resident("VmRSS"), 0)

    def end(self) -> None:
        """The last step is over."""
        if self._step:
            self.steps[self._step] = (self.steps[self._step][0], _resident("VmHWM"))


def _resident(what: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(what))


def main(argv: Sequence[str] | None = None) -> int:
    """Make a checkpoint, export it, and say what it took."""
    options = _parse(argv)
    with tempfile.TemporaryDirectory(prefix="dropscribe-onnx-", dir=options.folder) as folder:
        source = Path(folder) / "source"
        size = make_checkpoint(source, replace(PUBLISHED, layers=options.layers))
        peaks, began = Peaks(), time.monotonic()
        exported = export.export(str(source), Path(folder) / "export", options.dtype, tell=peaks.tell)
        peaks.end()
        seconds = time.monotonic() - began
        written = exported.manifest.size
    print(
        f"{options.layers} layers, {size / 1e9:.2f} GB in bf16, to {options.dtype}: {written / 1e9:.2f} GB in "
        f"{seconds:.0f} s"
    )
    print(f"{peaks.before / 1e6:.0f} MB with all that is imported")
    for step, (start, most) in peaks.steps.items():
        print(f"{step}: {start / 1e6:.0f} MB at its beginning, {(most - start) / 1e6:.0f} MB more at most")
    return 0


def make_checkpoint(folder: Path, geometry: ModelDimensions) -> int:
    """Write a checkpoint of zeros and return the bytes of its weights."""
    folder.mkdir()
    config = config_of(geometry)
    config.save_pretrained(folder)
    build_processor().save_pretrained(folder)
    weights = graphs.hollow(config, torch.bfloat16).state_dict()
    entries = [(name, "BF16", tuple(one.shape), one.numel() * 2) for name, one in weights.items()]
    size: int = sum(one[3] for one in entries)
    with (folder / "model.safetensors").open("wb") as file:
        file.truncate(file.write(safetensors_files.header(entries, {"format": "pt"})) + size)
    return size


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.onnx_export", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--dtype", choices=["fp32", "fp16", "int4"], default="int4", help="default: %(default)s")
    parser.add_argument("--layers", type=int, default=PUBLISHED.layers, help="default: %(default)s")
    parser.add_argument("--folder", type=Path, help="where there is room; the folder for temporary files if not given")
    return parser.parse_args(argv)


if __name__ == "__main__":
    raise SystemExit(main())
