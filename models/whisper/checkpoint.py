"""A Whisper checkpoint in the layout that CTranslate2 reads: as it is published, or converted once and kept. No torch
unless one has to be converted."""

from __future__ import annotations

import hashlib
import logging
import time
from pathlib import Path

from dropscribe.core.error_translation import explained
from dropscribe.core.errors import ModelUnavailableError, UsageError
from dropscribe.core.installing import how_to_install
from dropscribe.core.settings import Settings
from dropscribe.models import inventory
from dropscribe.models.checkpoints import fetch, hub_cache, known, new_folder, sizes
from dropscribe.models.checkpoints.known import WEIGHTS
from dropscribe.models.whisper import model_bin
from dropscribe.models.whisper.spec import DEFAULT

log = logging.getLogger(__name__)

LOG_SECONDS = 10.0  # between two lines about the same step
HALF, FULL = "float16", "float32"


def find(settings: Settings) -> tuple[Path, str]:
    """The folder of the checkpoint in use, fetched if it is not here, and the name to call it by.

    Raises UsageError for what is neither a folder nor an id, and ModelUnavailableError when it cannot be fetched.
    """
    source = settings.model or DEFAULT
    if not known.find(source, settings.revision):
        try:
            folder, commit = hub_cache.locate(source, settings.revision)
            return folder, known.title(source, commit)
        except UsageError:
            if Path(source).expanduser().is_absolute():
                raise
    folder, commit = fetch.fetch(source, settings.revision, _Log())
    return folder, known.title(known.identity(source), commit)


class _Log:
    """Progress of a fetch for the log: each step once, and then every 10 s."""

    def __init__(self) -> None:
        self._step, self._logged_at = "", 0.0

    def __call__(self, step: str, done: int, total: int) -> None:
        """Log a step at its beginning, and then from time to time."""
        now = time.monotonic()
        if step == self._step and now - self._logged_at < LOG_SECONDS:
            return
        self._step, self._logged_at = step, now
        log.info("%s%s", step, f": {done / 1e6:,.0f} of {total / 1e6:,.0f} MB" if total else "")


def readable(folder: Path, name: str, settings: Settings) -> Path:
    """A folder that CTranslate2 reads: this one, or its converted copy under `home`, made if it is not there.

    Raises ModelUnavailableError if it is not a Whisper, not whole, or cannot be converted.
    """
    if (folder / WEIGHTS).is_file():
        return folder
    kind = hub_cache.read_config(folder).get("model_type")
    if kind != "whisper":
        raise ModelUnavailableError(
            f"{name} holds a model of type {kind or 'unknown'}, not whisper",
            remedy=f"name another (DROPSCRIBE_MODEL), for example {DEFAULT}",
        )
    kept = FULL if settings.precision == "fp32" else HALF  # the type of the weights in a converted copy
    target = settings.home / "models" / f"whisper-{_digest(folder, kept)}"
    return target if target.is_dir() else _converted(folder, name, target, kept)


def half_size(folder: Path) -> int:
    """Bytes that the weights take in 16 bits, in whatever type a folder that CTranslate2 reads has them.

    Where its file does not tell, they are taken for 16 bits, as they are published. Raises ModelUnavailableError.
    """
    with explained(OSError, ModelUnavailableError, f"cannot read {folder / WEIGHTS}", remedy="fetch it again"):
        numbers = model_bin.weights(folder / WEIGHTS)
        return (folder / WEIGHTS).stat().st_size if numbers is None else 2 * numbers


def _digest(folder: Path, kept: str) -> str:
    """Tells one checkpoint from another, and a folder from what was in it before."""
    files = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(folder.iterdir())]
    return hashlib.sha256(repr((str(folder), files, kept)).encode()).hexdigest()[:16]


def _converted(folder: Path, name: str, target: Path, kept: str) -> Path:
    """The checkpoint in CTranslate2's layout, made now. Raises ModelUnavailableError."""
    if problems := inventory.examine(folder).problems:
        raise ModelUnavailableError(f"{name}: {'; '.join(problems)}")
    log.info("converting %s for CTranslate2, once", name)
    target.parent.mkdir(parents=True, exist_ok=True)
    new_folder.require_room(target.parent, sizes.of_files(folder.glob("*.safetensors")))
    with new_folder.beside(target) as part:
        try:
            from dropscribe.models.whisper import conversion

            conversion.convert(folder, part, kept)
        except ImportError as error:
            raise ModelUnavailableError(
                f"{name} has to be converted for CTranslate2, which needs more packages: {error}",
                remedy=f"{how_to_install('gpu')}, or name a checkpoint in that layout (DROPSCRIBE_MODEL), "
                f"for example {DEFAULT}",
            ) from error
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise ModelUnavailableError(
                f"{name} cannot be converted for CTranslate2: {error}", remedy="fetch it again"
            ) from error
        try:
            new_folder.settle(part, target)
        except ModelUnavailableError:
            if not target.is_dir():  # another worker was faster
                raise
    return target
