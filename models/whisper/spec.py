"""What is known of the engine whisper without importing it, and what is said of each of its checkpoints."""

from __future__ import annotations

from dropscribe.models.checkpoints import known
from dropscribe.models.engine_spec import EngineSpec

DEFAULT = "base"  # of known checkpoints: what any machine can run
ON_GPUS = "turbo"  # the best of them that a GPU of 4 GB holds

SPEC = EngineSpec(
    name="whisper",
    target="dropscribe.models.whisper.transcriber:Whisper",
    extra="whisper",
    package="faster_whisper",
    computes_with="ctranslate2",
    imports=("ctranslate2", "faster_whisper"),
    on_gpus=True,
    model=DEFAULT,
)

# How good a checkpoint is, by its short name, and what to do for better transcripts.
_CAVEATS = {
    "tiny": "the quickest and the least accurate; `--model base` is slower and better",
    "tiny.en": "English only, and fluent nonsense for other languages; `--model base` knows a hundred",
    "base": "about one word in ten wrong in conversation; `--model small` is slower and better",
    "small": "better than base, and three times as large; `--model medium` is slower and better still",
    "medium": "better than small, and three times as large; `--model turbo` is better and not slower",
}


def caveat(model: str, device: str) -> str:
    """What a reader has to know of a checkpoint before trusting its transcripts; empty for the best and unknown ones.

    `model` is a short name or an id, `device` is `cpu` or `cuda`.
    """
    found = known.find(model)
    if not found or found.name not in _CAVEATS:
        return ""
    return f"{describe(model, device)}: {_CAVEATS[found.name]}"


def describe(model: str, device: str) -> str:
    """A checkpoint and where it runs: `Whisper base on the CPU`.

    >>> describe("base", "cpu")
    'Whisper base on the CPU'
    """
    found = known.find(model)
    return f"Whisper {found.name if found else f'({model})'} on {'a GPU' if device == 'cuda' else 'the CPU'}"
