"""Pure: which engines there are, by name, and where each declares settings of its own.

core imports no engine. `dropscribe/__init__.py`, which every import runs, declares them here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from dropscribe.core import old_names
from dropscribe.core.errors import SettingsError

AUTO = "auto"  # as a choice: the engine that fits the machine

_SETTINGS: dict[str, str] = {}
_TRANSLATING: set[str] = set()


def declare(settings: Mapping[str, str], translating: Collection[str] = ()) -> None:
    """Make engines known; each with `module:Class` of its `EngineSettings`, empty where it has none.

    Those that are `translating` can translate, with some of their checkpoints at least.
    """
    _SETTINGS.update(settings)
    _TRANSLATING.update(translating)


def names() -> tuple[str, ...]:
    """All engines, in the order of their names."""
    return tuple(sorted(_SETTINGS))


def choices() -> tuple[str, ...]:
    """What the setting `engine` takes."""
    return (AUTO, *names())


def checked(choice: str) -> str:
    """A value of the setting `engine` as it is. Raises ValueError for one that there is not, or no longer.

    >>> checked("whisper"), checked("auto")
    ('whisper', 'auto')
    """
    old_names.refuse_gone("engine", choice)
    if choice not in choices():
        *most, last = map(repr, choices())
        raise ValueError(f"input should be {', '.join(most)} or {last}")
    return choice


def require_task(engine: str, task: str) -> None:
    """Raise SettingsError for an engine that cannot do that; `auto` may become one that can."""
    from dropscribe.core.types import SpeechTask  # every import of dropscribe imports this module

    if task == SpeechTask.TRANSLATE and engine not in {AUTO, *_TRANSLATING}:
        raise SettingsError(
            f"the engine {engine} cannot translate",
            remedy="set task = transcribe, or the engine whisper with a checkpoint that can, such as large-v3",
        )


def settings_of(engine: str) -> str:
    """Where the settings of an engine are declared, as `module:Class`; empty where it has none of its own."""
    return _SETTINGS[engine]
