"""Downloads a checkpoint from Hugging Face into its cache: resumed where it was left, checked by size."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from dropscribe.core.error_translation import first_line, translated
from dropscribe.core.errors import ModelUnavailableError, UsageError
from dropscribe.models.checkpoints import hub_cache, new_folder
from dropscribe.models.progress import Tell

# Weights in safetensors or in CTranslate2's layout, and what is needed to use them.
PATTERNS = ("*.json", "*.jinja", "*.txt", "*.model", "*.safetensors", "model.bin", "LICENSE*", "README.md")
ASK_SECONDS = 10.0  # for the hub's first answer
EVERY = 1.0  # s between two looks at how much has come


def download(name: str, revision: str, tell: Tell, patterns: Sequence[str] = PATTERNS) -> tuple[Path, str]:
    """Download the files of a checkpoint that match; returns its folder in the cache and its commit.

    Raises UsageError if it is not an id, and ModelUnavailableError when the hub cannot be reached, has no such
    checkpoint or does not give it, or when the disk is too small.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id
    from huggingface_hub.utils.tqdm import disable_progress_bars

    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise UsageError(
            f"{name} is not an id of Hugging Face", remedy="it looks like microsoft/VibeVoice-ASR-HF"
        ) from error
    disable_progress_bars()
    tell(f"asking for {name}", 0, 0)
    present, size = _needed(name, revision, patterns)
    if size > present:
        hub_cache.cache().mkdir(parents=True, exist_ok=True)
        new_folder.require_room(hub_cache.cache(), size - present)
    with _watched(name, present, size, tell), _translated(name, revision):
        fetched = snapshot_download(
            name, revision=revision or None, cache_dir=hub_cache.cache(), allow_patterns=list(patterns)
        )
    return Path(fetched), Path(fetched).name


def _needed(name: str, revision: str, patterns: Sequence[str]) -> tuple[int, int]:
    """Bytes that are here already, and in all."""
    from huggingface_hub import HfApi, snapshot_download

    wanted = revision or None
    with _translated(name, revision):
        # First a question that is not asked again and again where no hub can be reached, as the list of files would be.
        HfApi().repo_info(name, revision=wanted, timeout=ASK_SECONDS)
        files = snapshot_download(
            name, revision=wanted, cache_dir=hub_cache.cache(), allow_patterns=list(patterns), dry_run=True
        )
    if not files:
        raise ModelUnavailableError(
            f"{name} has no files in safetensors or for CTranslate2 on the hub", remedy="name another checkpoint"
        )
    size_of = {True: 0, False: 0}  # what is still to come, and what is here
    for one in files:
        size_of[one.will_download] += one.file_size or 0
    return size_of[False], sum(size_of.values())


def _translated(name: str, revision: str) -> AbstractContextManager[None]:
    """What goes wrong on the way to the hub, as one sentence."""
    from huggingface_hub import errors

    # The base of all errors of the HTTP library that it has, httpx or httpx2; its own are OSErrors.
    http_error = errors.HfHubHTTPError.__bases__[0]
    return translated((http_error, OSError), into=lambda error: _refused(name, revision, _reason(error)))


def _reason(error: Exception) -> BaseException:
    """What two of huggingface_hub's errors only wrap, or the error itself."""
    from huggingface_hub import errors

    wraps = isinstance(error, errors.DryRunError | errors.LocalEntryNotFoundError)
    return error.__cause__ if wraps and error.__cause__ else error


def _refused(name: str, revision: str, cause: BaseException) -> ModelUnavailableError:
    """The error for what huggingface_hub says, by the kind of its own error."""
    from huggingface_hub import constants, errors

    hub = constants.ENDPOINT
    known: dict[type[Exception], tuple[str, str]] = {  # special ones before the general one that they are, too
        errors.RevisionNotFoundError: (f"{name} has no revision {revision}", f"look for it on {hub}/{name}"),
        errors.GatedRepoError: (
            f"{name} is only for those who asked",
            f"ask on {hub}/{name}, then `hf auth login`",
        ),
        errors.RepositoryNotFoundError: (
            f"{hub} shows no {name}",
            "check the name, or `hf auth login` if it is private",
        ),
        errors.OfflineModeIsEnabled: (f"{name} cannot be fetched while HF_HUB_OFFLINE is set", ""),
    }
    otherwise = (
        f"cannot fetch {name} from {hub}: {first_line(cause)}",
        "check the network, or fetch it elsewhere and copy its folder here; what came so far is kept",
    )
    problem, remedy = next((told for kind, told in known.items() if isinstance(cause, kind)), otherwise)
    return ModelUnavailableError(problem, remedy=remedy)


@contextmanager
def _watched(name: str, present: int, size: int, tell: Tell) -> Iterator[None]:
    """Tell how much of the checkpoint has come, while it comes."""
    blobs = hub_cache.repository(name) / "blobs"
    before, ended = _held(blobs), threading.Event()

    def look() -> None:
        """Report how much of the download is there, until it is over."""
        while not ended.wait(EVERY):
            tell(f"fetching {name}", min(present + max(0, _held(blobs) - before), size), size)

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def _held(blobs: Path) -> int:
    """Bytes on the disk, of parts too."""
    total = 0
    for path in blobs.glob("*"):
        with suppress(FileNotFoundError):  # a part got its name
            total += path.stat().st_blocks * 512
    return total
