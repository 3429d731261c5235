"""Which test runs in which of pytest-xdist's processes."""

from __future__ import annotations

from collections.abc import Collection

from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

# Files whose tests share what takes seconds to make, or gigabytes: a checkpoint, a model, an export, the one GPU.
# A process that begins one ends it. The scheduler begins with the longest of them, as they are what ends last.
WHOLE = {
    "tests/gpu": "gpu",
    "tests/e2e/test_conversation.py": "conversation",
    "tests/e2e/test_drain.py": "tests/e2e/test_drain.py",
    "tests/e2e/test_one_up.py": "tests/e2e/test_one_up.py",
    "tests/e2e/test_onnx.py": "onnx",
    "tests/e2e/test_sounds.py": "recordings",
    "tests/e2e/test_wheel.py": "wheel",
    "tests/e2e/test_whisper.py": "recordings",
    "tests/integration/test_onnx.py": "onnx",
    "tests/integration/test_onnx_command.py": "onnx",
    "tests/integration/test_buckets.py": "buckets",
    "tests/integration/test_long.py": "long",
    "tests/integration/test_models_convert.py": "convert",
    "tests/integration/test_models_quantize.py": "quantize",
    "tests/integration/test_quantize.py": "quantize",
    "tests/integration/test_quantized_by_others.py": "quantize",
    "tests/integration/test_vibevoice.py": "vibevoice",
    "tests/integration/test_vibevoice_engine.py": "vibevoice",
    "tests/integration/test_vibevoice_loader.py": "vibevoice",
    "tests/integration/test_whisper.py": "whisper",
    "tests/integration/test_whisper_base.py": "whisper base",
    "tests/integration/test_page_in_browser.py": "browser",
    "tests/integration/test_pages_in_browser.py": "browser",
    "tests/integration/test_recording_page.py": "browser",
    "tests/integration/test_status_page.py": "browser",
    "tests/unit/test_deploy.py": "deploy",
    "tests/unit/test_tiny.py": "tiny",
}
# Folders whose tests mostly wait for what they start; files of them that are whole bear their own path as a name.
WAITING = ("tests/e2e/", "tests/faults/")


def unit(nodeid: str) -> str:
    """What is handed out together with a test, by a name of its own."""
    path = nodeid.partition("::")[0]
    return WHOLE.get(path) or WHOLE.get(path.rpartition("/")[0]) or nodeid


def fitting(names: Collection[str], *, waits: bool) -> str:
    """The first whose tests mostly wait, or do not; the first of all where none is left."""
    return next((name for name in names if name.startswith(WAITING) == waits), next(iter(names)))


class Scheduler(LoadScopeScheduling):
    """Hands out one test at a time, and the files above whole.

    Every other process is given tests that wait as long as there are any, and the others tests that compute: were all
    to wait at the same time, cores would idle, and had all to compute later, they would be in each other's way.
    """

    def _split_scope(self, nodeid: str) -> str:
        return unit(nodeid)

    def _assign_work_unit(self, node: WorkerController) -> None:
        name = fitting(self.workqueue, waits=self.nodes.index(node) % 2 == 1)
        self.workqueue.move_to_end(name, last=False)
        super()._assign_work_unit(node)
