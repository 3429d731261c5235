"""Starting PyTorch for one command: quietly, and with an error that says which packages are missing."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from dropscribe.core.errors import ModelUnavailableError


def quieten() -> None:
    """Keep the libraries around PyTorch from giving advice on serving from a CPU."""
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)


@contextmanager
def needed_by(what: str, extras: str) -> Iterator[None]:
    """Imports that need PyTorch belong in the block.

    Raises ModelUnavailableError where they fail: `what` needs more packages, those of the `extras` of dropscribe.
    """
    quieten()
    try:
        yield
    except ImportError as error:
        raise ModelUnavailableError(
            f"{what} needs more packages: {error}", remedy=f"pip install 'dropscribe[{extras}]'"
        ) from error
