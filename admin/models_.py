"""What the commands of the group `models` take; the modules that do it are imported when one is called."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Make checkpoints of VibeVoice-ASR ready for use.", no_args_is_help=True)


class Precision(StrEnum):
    """What a checkpoint can be quantized to."""

    INT8 = "int8"
    NF4 = "nf4"


class Device(StrEnum):
    """Where it is computed."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
EXAMPLES = """Examples:

  dropscribe models quantize microsoft/VibeVoice-ASR-HF ~/models/vibevoice-int8 --precision int8

  dropscribe models quantize ~/models/vibevoice ~/models/vibevoice-nf4 --precision nf4 --device cpu
"""


@app.command(epilog=EXAMPLES)
def quantize(
    ctx: typer.Context,
    source: Annotated[str, typer.Argument(metavar="SRC", help="The checkpoint: its folder, or its Hugging Face id.")],
    destination: Annotated[Path, typer.Argument(metavar="DST", help="The new folder; absent or empty.")],
    precision: Annotated[Precision, typer.Option(help="Number format of the language model's layers.")],
    device: Annotated[Device, typer.Option(help="Where; auto: the GPU, if its memory suffices.")] = Device.AUTO,
    revision: Annotated[str, typer.Option(help="Commit or tag of the id; its newest if not given.")] = "",
    as_json: Json = False,
) -> None:
    """Write a quantized copy of a checkpoint, which loads faster and takes less room.

    DST appears when the copy is complete and was read back without a difference; not before.
    """
    from admin import quantize as answer

    answer.quantize(
        ctx.obj, source, destination, precision=precision, device=device, revision=revision, as_json=as_json
    )
