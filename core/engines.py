"""Pure: which engines there are, by name, and where each declares settings of its own.

core imports no engine. `dropscribe/__init__.py`, which every import runs, declares them here.
"""

from __future__ import annotations

from collections.abc import Mapping

from dropscribe.core import old_names

AUTO = "auto"  # as a choice: the engine that fits the machine

_SETTINGS: dict[str, str] = {}


def declare(settings: Mapping[str, str]) -> None:
    """Make engines known; each with `module:Class` of its `EngineSettings`, empty where it has none."""
    _SETTINGS.update(settings)


def names() -> tuple[str, ...]:
    """All engines, in the order of their names."""
    return tuple(sorted(_SETTINGS))


def choices() -> tuple[str, ...]:
    """What the setting `engine` takes."""
    return (AUTO, *names())


def checked(choice: str) -> str:
    """A value of the setting `engine` as it is. Raises ValueError for one that there is not, or no longer."""
    old_names.refuse_gone("engine", choice)
    if choice not in choices():
        *most, last = map(repr, choices())
        raise ValueError(f"input should be {', '.join(most)} or {last}")
    return choice


def settings_of(engine: str) -> str:
    """Where the settings of an engine are declared, as `module:Class`; empty where it has none of its own."""
    return _SETTINGS[engine]
