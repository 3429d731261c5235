"""What is known of an engine without importing it: where it is, what it needs, what it says of itself. Pure."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

from dropscribe.core.errors import ModelUnavailableError
from dropscribe.core.installing import how_to_install


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """An engine by its `name`, which the setting `engine` takes; `target` is `module:Class` of its Transcriber.

    `package` is the one without which its module cannot be imported, and `extra` the optional dependencies that bring
    it; both are empty where nothing optional is needed. `computes_with` is the package that computes, empty where none
    does; `imports` are all that the engine imports, of which it can do without the `optional` ones. `on_gpus` says that
    each GPU gets a worker of its own, `needs_gpu` that a CPU is too slow for it, `remote` that another machine has the
    weights. `model` is the checkpoint if none is named. `notice` is what a reader has to know before trusting the
    transcripts.
    """

    name: str
    target: str
    extra: str = ""
    package: str = ""
    computes_with: str = ""
    imports: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    on_gpus: bool = False
    needs_gpu: bool = False
    model: str = ""
    remote: bool = False
    notice: str = ""

    @property
    def is_installed(self) -> bool:
        """Whether the package that it runs on is here. Imports nothing."""
        return not self.package or importlib.util.find_spec(self.package) is not None

    @property
    def how_to_install(self) -> str:
        """What to do where it is not."""
        return f"install it: {how_to_install(self.extra)}"

    def require(self) -> None:
        """Raise ModelUnavailableError when the package that it runs on is not installed. Imports nothing."""
        if not self.is_installed:
            raise ModelUnavailableError(
                f"{self.name} cannot be imported: {self.package} is not installed", remedy=self.how_to_install
            )
