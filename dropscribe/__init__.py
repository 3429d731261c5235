"""Drop a recording into a folder, find its transcript beside it.

    from dropscribe import Client

    with Client() as client:
        job = client.wait(client.submit("talk.wav"))
        for segment in client.transcript(job).segments:
            print(segment.start, segment.speaker, segment.text)

What stands in `__all__` is the public interface; docs/client.md describes it. The sub-packages are links to the
folders at the top of the repository, and docs/architecture.md says what each is for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dropscribe.core import engines as _engines

if TYPE_CHECKING:
    from dropscribe.admin.client import Client
    from dropscribe.core.corrections import SpeakerEdit, SplitEdit, TextEdit
    from dropscribe.core.errors import DropscribeError
    from dropscribe.core.settings import Settings
    from dropscribe.core.types import JobState, Priority, Segment, Speaker, Transcript, Word
    from dropscribe.store.queries import Job

# Where each public name lives. Every import of a submodule runs this file, so the modules are imported when asked for.
_HOMES = {
    "Client": "dropscribe.admin.client",
    "DropscribeError": "dropscribe.core.errors",
    "Job": "dropscribe.store.queries",
    "JobState": "dropscribe.core.types",
    "Priority": "dropscribe.core.types",
    "Segment": "dropscribe.core.types",
    "Settings": "dropscribe.core.settings",
    "Speaker": "dropscribe.core.types",
    "SpeakerEdit": "dropscribe.core.corrections",
    "SplitEdit": "dropscribe.core.corrections",
    "TextEdit": "dropscribe.core.corrections",
    "Transcript": "dropscribe.core.types",
    "Word": "dropscribe.core.types",
}

# Every engine, with where it declares settings of its own. Rooms that may not import models know engines by this alone.
_engines.declare(
    {
        "onnx": "",
        "openai": "dropscribe.models.openai.settings:OpenAISettings",
        "scripted": "dropscribe.models.scripted.settings:ScriptedSettings",
        "vibevoice": "dropscribe.models.vibevoice.settings:VibeVoiceSettings",
        "whisper": "",
    },
    translating=("scripted", "whisper"),
)

__all__ = [
    "Client",
    "DropscribeError",
    "Job",
    "JobState",
    "Priority",
    "Segment",
    "Settings",
    "Speaker",
    "SpeakerEdit",
    "SplitEdit",
    "TextEdit",
    "Transcript",
    "Word",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return found


def __dir__() -> list[str]:
    """The public names."""
    return __all__
