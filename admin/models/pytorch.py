"""Starting PyTorch for one command: quietly, and with an error that says which packages are missing."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager

from dropscribe.core.error_translation import explained
from dropscribe.core.errors import ModelUnavailableError
from dropscribe.core.installing import how_to_install


def quieten() -> None:
    """Keep the libraries around PyTorch from giving advice on serving from a CPU."""
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)


def needed_by(what: str, extras: str) -> AbstractContextManager[None]:
    """Imports that need PyTorch belong in the block.

    Raises ModelUnavailableError where they fail: `what` needs more packages, those of the `extras` of dropscribe.
    """
    quieten()
    return explained(ImportError, ModelUnavailableError, f"{what} needs more packages", remedy=how_to_install(extras))
