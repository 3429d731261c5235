"""What the commands of the group `models` take; the modules that do it are imported when one is called."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from dropscribe.models.vibevoice.parts import ModelPart

app = typer.Typer(help="List, fetch, convert and check checkpoints.", no_args_is_help=True)


class QuantizedPrecision(StrEnum):
    """What a checkpoint can be quantized to."""

    INT8 = "int8"
    NF4 = "nf4"


class Dtype(StrEnum):
    """What a checkpoint can be converted to."""

    FP16 = "fp16"
    BF16 = "bf16"
    FP32 = "fp32"


class OnnxDtype(StrEnum):
    """What a checkpoint can be exported to."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT4 = "int4"


class EncoderDtype(StrEnum):
    """What its audio encoders can be exported to."""

    FP32 = "fp32"
    FP16 = "fp16"


class BlockSize(StrEnum):
    """How many weights can share a scale."""

    B16 = "16"
    B32 = "32"
    B64 = "64"
    B128 = "128"
    B256 = "256"


class Device(StrEnum):
    """Where it is computed."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


Verify = Annotated[bool, typer.Option("--verify", help="Verify every file against the hub's checksums.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
RUN = "Load the result as a worker would and transcribe two seconds of silence, if this machine has the memory."
Run = Annotated[bool, typer.Option("--run/--no-run", help=RUN)]
ONLY = f"Part to quantize, instead of the language model alone; unsafe, repeatable. Parts: {', '.join(ModelPart)}."
EXAMPLES = """Examples:

  dropscribe models quantize microsoft/VibeVoice-ASR-HF ~/models/vibevoice-int8 --precision int8

  dropscribe models quantize ~/models/vibevoice ~/models/vibevoice-nf4 --precision nf4 --device cpu

  dropscribe models quantize ~/models/vibevoice ~/models/small --precision nf4 --only language-model --only head
"""


@app.command(epilog=EXAMPLES)
def quantize(
    ctx: typer.Context,
    source: Annotated[str, typer.Argument(metavar="SRC", help="The checkpoint: its folder, or an id in the cache.")],
    destination: Annotated[Path, typer.Argument(metavar="DST", help="The new folder; absent or empty.")],
    *,
    precision: Annotated[QuantizedPrecision, typer.Option(help="Number format of what is quantized.")],
    only: Annotated[list[ModelPart] | None, typer.Option(metavar="PART", help=ONLY)] = None,
    skip: Annotated[
        list[ModelPart] | None, typer.Option(metavar="PART", help="Part to leave as it is after all; repeatable.")
    ] = None,
    device: Annotated[Device, typer.Option(help="Where; auto: the GPU, if there is one.")] = Device.AUTO,
    revision: Annotated[str, typer.Option(help="Commit or branch of the id.")] = "",
    run: Run = True,
    as_json: Json = False,
) -> None:
    """Write a quantized copy of a checkpoint, which loads faster and takes less room, in about 1 GB of memory.

    Running it afterwards takes what a worker takes, if there is that much; else it is not run.

    Only the linears of the language model's layers are quantized, unless --only names other parts. DST appears when
    the copy is complete, was read back, its quantized modules were counted and it ran where it can; not before.
    """
    from dropscribe.admin.models import quantize as answer

    answer.quantize(
        ctx.obj,
        source,
        destination,
        precision=precision,
        only=only or (),
        skip=skip or (),
        device=device,
        revision=revision,
        run=run,
        as_json=as_json,
    )


LIST_EXAMPLES = """Examples:

  dropscribe models list

  dropscribe models list /srv/models --verify
"""


@app.command("list", epilog=LIST_EXAMPLES)
def list_(
    ctx: typer.Context,
    folders: Annotated[
        list[Path] | None, typer.Argument(metavar="[FOLDER]...", help="Checkpoints, or folders that hold some.")
    ] = None,
    verify: Verify = False,
    as_json: Json = False,
) -> None:
    """List the checkpoints in Hugging Face's cache and in folders, with precision, size and whether they are complete.

    Exit code 1 if something is wrong with one.
    """
    from dropscribe.admin.models import checkpoints

    if not checkpoints.show_all(ctx.obj, folders or [], verify=verify, as_json=as_json):
        raise typer.Exit(1)


SHOW_EXAMPLES = """Examples:

  dropscribe models show microsoft/VibeVoice-ASR-HF --verify

  dropscribe models show /srv/models/vibevoice-fp16 --json
"""


@app.command(epilog=SHOW_EXAMPLES)
def show(
    ctx: typer.Context,
    source: Annotated[str, typer.Argument(metavar="PATH", help="A checkpoint's folder, or an id in the cache.")],
    revision: Annotated[str, typer.Option(help="Commit or branch of the id.")] = "",
    verify: Verify = False,
    as_json: Json = False,
) -> None:
    """Show one checkpoint: its layout, number formats and size, and whether it is whole (exit code 1 if not)."""
    from dropscribe.admin.models import checkpoints

    if not checkpoints.show_one(ctx.obj, source, revision=revision, verify=verify, as_json=as_json):
        raise typer.Exit(1)


FETCH_EXAMPLES = """Examples:

  dropscribe models fetch base

  dropscribe models fetch microsoft/VibeVoice-ASR-HF

  dropscribe models fetch campplus                        # the speaker encoder
"""


@app.command(epilog=FETCH_EXAMPLES)
def fetch(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="ID", help="Its short name (base) or its id on Hugging Face.")],
    revision: Annotated[
        str, typer.Option(help="Commit, tag or branch; if not given, the known one of a short name, else the newest.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Download a checkpoint into Hugging Face's cache; an interrupted download continues."""
    from dropscribe.admin.models import checkpoints

    if not checkpoints.fetch(ctx.obj, name, revision=revision, as_json=as_json):
        raise typer.Exit(1)


CONVERT_EXAMPLES = """Examples:

  dropscribe models convert microsoft/VibeVoice-ASR-HF ~/models/vibevoice-fp16 --dtype fp16 --test

  dropscribe models convert ~/models/vibevoice ~/models/vibevoice-fp16 --dtype fp16 --keep-fp32 attention
"""


@app.command(epilog=CONVERT_EXAMPLES)
def convert(
    ctx: typer.Context,
    source: Annotated[str, typer.Argument(metavar="SRC", help="The checkpoint: its folder, or an id in the cache.")],
    destination: Annotated[Path, typer.Argument(metavar="DST", help="The new folder; absent or empty.")],
    *,
    dtype: Annotated[Dtype, typer.Option(help="Number format of the copy.")],
    keep: Annotated[
        list[str] | None,
        typer.Option(
            "--keep-fp32", metavar="PATTERN", help="Tensors to keep in fp32 too: a word in their names, or a glob."
        ),
    ] = None,
    mixed: Annotated[
        bool, typer.Option("--mixed/--no-mixed", help="Keep normalization weights and layer scales in fp32.")
    ] = True,
    test: Annotated[bool, typer.Option("--test", help="Read the copy back and compare it with its source.")] = False,
    revision: Annotated[str, typer.Option(help="Commit or branch of the id.")] = "",
    as_json: Json = False,
) -> None:
    """Write a copy of a checkpoint in another number format, of any architecture, in less than 1 GB of memory.

    DST appears when the copy is complete, not before. What would overflow keeps the format that it has.
    """
    from dropscribe.admin.models import convert as answer

    answer.convert(
        ctx.obj,
        source,
        destination,
        dtype=dtype,
        keep=keep or [],
        mixed=mixed,
        test=test,
        revision=revision,
        as_json=as_json,
    )


EXPORT_EXAMPLES = """Examples:

  dropscribe models export microsoft/VibeVoice-ASR-HF ~/models/vibevoice-int4 --dtype int4

  dropscribe models export ~/models/vibevoice ~/models/vibevoice-onnx --dtype fp32
"""


@app.command(epilog=EXPORT_EXAMPLES)
def export(
    ctx: typer.Context,
    source: Annotated[str, typer.Argument(metavar="SRC", help="The checkpoint: its folder, or an id in the cache.")],
    destination: Annotated[Path, typer.Argument(metavar="DST", help="The new folder; absent or empty.")],
    *,
    dtype: Annotated[OnnxDtype, typer.Option(help="Number format; int4: of the language model's layers.")],
    encoder: Annotated[
        EncoderDtype | None, typer.Option(help="Of the audio encoders; fp16 if not given, with fp32 fp32.")
    ] = None,
    block_size: Annotated[BlockSize, typer.Option(help="Weights that share a scale under int4.")] = BlockSize.B32,
    revision: Annotated[str, typer.Option(help="Commit or branch of the id.")] = "",
    run: Run = True,
    as_json: Json = False,
) -> None:
    """Write a checkpoint of VibeVoice-ASR as ONNX graphs, for ONNX Runtime on a CPU or a GPU.

    DST appears when the export is complete and ran where it can, not before. Weights are streamed, whatever their size.
    """
    from dropscribe.admin.models import export_onnx as answer

    answer.export(
        ctx.obj,
        source,
        destination,
        dtype=dtype,
        encoder=encoder or "",
        block_size=int(block_size),
        revision=revision,
        run=run,
        as_json=as_json,
    )


VALIDATE_EXAMPLES = """Examples:

  dropscribe models validate microsoft/VibeVoice-ASR-HF ~/models/vibevoice-int4

  dropscribe models validate ~/models/vibevoice ~/models/vibevoice-nf4 --audio interview.wav --json
"""


@app.command(epilog=VALIDATE_EXAMPLES)
def validate(
    ctx: typer.Context,
    source: Annotated[str, typer.Argument(metavar="SRC", help="The checkpoint: its folder, or an id in the cache.")],
    candidate: Annotated[Path, typer.Argument(metavar="COPY", help="An export, or a converted or quantized copy.")],
    audio: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="A recording to compare on; repeatable.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=1, help="Seconds of each recording to use, from its beginning.")] = 30,
    as_json: Json = False,
) -> None:
    """Compare an export or a copy with its source in PyTorch, on real audio.

    It compares embeddings, logits, next tokens and transcripts. Exit code 1 if one is outside its limits.
    """
    from dropscribe.admin.models import validate as answer

    if not answer.validate(ctx.obj, source, candidate, audio or [], seconds=seconds, as_json=as_json):
        raise typer.Exit(1)
