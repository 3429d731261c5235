"""What the audio encoders cost: bytes and kernels for a second of audio, and their speed, beside transformers' own.

Run as `python -m bench.encoder [--seconds 8] [--rows 1 4] [--device cuda]`; takes some minutes on a CPU, and needs
neither a GPU nor the network. Bytes are counted on the meta device, in 16 bits: what each operation reads and writes.
Dropscribe's way is that of a worker on a GPU: PyTorch's norm counts as one kernel, and so does what its compiler joins.
Then both encode the same random audio in turn on random weights. `transformers` is `get_audio_features` of its model.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import rms_norm
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import VibeVoiceAsrForConditionalGeneration

from bench.random_model import TINY, build, config_of
from bench.roofline import CARDS
from dropscribe.core.audio import SAMPLE_RATE
from dropscribe.models.vibevoice.dimensions import PUBLISHED, ModelDimensions
from dropscribe.models.vibevoice.memory_plan import Precision
from dropscribe.models.vibevoice.streamed_encoder import (
    Joins,
    StreamedEncoder,
    add_and_norm,
    compiled,
    fastest,
    gelu_within,
)

AIM = 0.8e9  # bytes for a second of audio, both encoders, with four recordings side by side
REACHED = 0.8  # of a card's bandwidth: what such kernels get
# Operations that move nothing: other views of the same numbers.
VIEWS = frozenset(
    "view transpose permute unsqueeze squeeze slice expand t select _unsafe_view alias detach as_strided reshape split "
    "split_with_sizes unbind empty new_empty empty_like empty_strided".split()
)

Encode = Callable[[Tensor], Tensor]


@dataclass
class Count(TorchDispatchMode):
    """Counts bytes read and written, by the name of each operation, and operations."""

    bytes: Counter[str] = field(default_factory=Counter)
    kernels: int = 0
    paused: bool = False

    def __post_init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch gives it none

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run it, and count unless it only looks at the same numbers in another way."""
        found = operation(*args, **(kwargs or {}))
        name = operation.overloadpacket.__name__
        if name not in VIEWS and not self.paused:
            self.add(name, (args, kwargs, found))
        return found

    def add(self, name: str, values: Any) -> None:
        """One kernel that reads and writes all tensors among these values once."""
        self.bytes[name] += sum(_moved(one) for one in tree_leaves(values) if isinstance(one, Tensor))
        self.kernels += 1

    def one_kernel(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function that is a single kernel on a GPU, whatever it is made of elsewhere."""
        self.paused = True
        found = function(*arguments)
        self.paused = False
        self.add(function.__name__, (arguments, found))
        return found


class _NormsAsOne(TorchFunctionMode):
    def __init__(self, count: Count) -> None:
        super().__init__()
        self._count = count

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is rms_norm and not self._count.paused:
            return self._count.one_kernel(function, *args)
        return function(*args, **(kwargs or {}))


def _moved(tensor: Tensor) -> int:
    """Bytes; what is expanded is read once."""
    numbers = tensor.element_size()
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        numbers *= size if stride else 1
    return numbers


@contextmanager
def counting(count: Count) -> Iterator[None]:
    """What is computed within is counted."""
    with count, _NormsAsOne(count), torch.no_grad():
        yield


def rival_of(model: Any) -> Encode:
    """transformers' own way: samples (rows, samples) to embeddings (rows, tokens, hidden), as one piece."""

    @torch.no_grad()
    def encode(samples: Tensor) -> Tensor:
        found: Tensor = model.get_audio_features(samples[:, None], sample=False).pooler_output
        return found

    return encode


def ours_of(encoder: StreamedEncoder) -> Encode:
    """dropscribe's: the same, from states of zeros."""

    def encode(samples: Tensor) -> Tensor:
        return encoder(samples, samples.new_zeros(len(samples), encoder.state_size))

    return encode


def counts(geometry: ModelDimensions, seconds: float, rows: int) -> list[Count]:
    """What transformers' way and ours move for one piece of so many seconds in each row, in 16 bits."""
    meta = torch.device("meta")
    with meta:
        model: Any = VibeVoiceAsrForConditionalGeneration(config_of(_without_language(geometry)))
    model.to(torch.bfloat16)
    samples = torch.zeros(rows, _samples(geometry, seconds), dtype=torch.bfloat16, device=meta)
    rival = Count()
    with counting(rival):
        rival_of(model)(samples)
    ours = Count()
    encode = ours_of(StreamedEncoder(model, meta, Joins(partial(ours.one_kernel, add_and_norm), gelu_within)))
    with counting(ours):
        encode(samples)
    return [rival, ours]


def _without_language(geometry: ModelDimensions) -> ModelDimensions:
    """The same encoders before a language model of hardly anything, which takes no part."""
    return replace(geometry, layers=1, vocabulary=64, intermediate=64)


def _samples(geometry: ModelDimensions, seconds: float) -> int:
    return max(1, int(seconds * SAMPLE_RATE) // geometry.hop) * geometry.hop


def times(ways: Sequence[Encode], samples: Tensor, repeats: int) -> tuple[list[list[float]], float]:
    """Seconds of transformers' way and of ours, in turn, and how far ours is off, relative to the largest number."""
    expected, found = (way(samples).float() for way in ways)  # and what is set up on first use
    error = float((expected - found).abs().max() / expected.abs().max())
    taken: list[list[float]] = [[], []]
    for _ in range(repeats):
        for way, seconds in zip(ways, taken, strict=True):
            began = time.perf_counter()
            way(samples)
            if samples.is_cuda:
                torch.cuda.synchronize(samples.device)
            seconds.append(time.perf_counter() - began)
    return taken, error


def main(argv: Sequence[str] | None = None) -> int:
    """Count, time and print; 1 if more bytes are moved than aimed at."""
    options = _parse(argv)
    geometry = TINY if options.tiny else PUBLISHED
    over = print_counts(geometry, options.seconds, max(options.rows))
    device = torch.device(options.device)
    model = build(_without_language(geometry), Precision(options.precision), device)
    ways = rival_of(model), ours_of(_encoder(model, device, compile_=options.compile))
    print(f"\n{'':14}{'rows':>5}{'RTFx':>10}{'ratio':>8}{'off by':>10}   {options.precision} on {device}")
    for rows in options.rows:
        samples = 0.1 * torch.randn(rows, _samples(geometry, options.seconds), device=device)
        taken, error = times(ways, samples.to(model.dtype), options.repeats)
        rival, ours = map(statistics.median, taken)
        audio = samples.numel() / SAMPLE_RATE
        print(f"{'transformers':14}{rows:5d}{audio / rival:10.2f}{1:7.2f}x")
        print(f"{'dropscribe':14}{rows:5d}{audio / ours:10.2f}{rival / ours:7.2f}x{error:10.1e}", flush=True)
    return int(over)


def _encoder(model: Any, device: torch.device, *, compile_: bool) -> StreamedEncoder:
    """As a worker on a CPU has it, or on a GPU."""
    if not compile_:
        return StreamedEncoder(model, device)
    sound = 0.1 * torch.randn(1, SAMPLE_RATE // 3200 * 3200, device=device)
    found, hindrance = fastest(model, device, sound.to(model.dtype), compiled())
    print(f"operation by operation: {hindrance}" if hindrance else "with joined operations")
    return found


def print_counts(geometry: ModelDimensions, seconds: float, rows: int) -> bool:
    """The table of bytes, and what it means on known cards; whether ours moves more than aimed at."""
    rival, ours = counts(geometry, seconds, rows)
    audio = rows * _samples(geometry, seconds) / SAMPLE_RATE
    print(f"{'':14}{'GB a second of audio':>22}{'kernels a piece':>17}{'ratio':>8}")
    for name, count in (("transformers", rival), ("dropscribe", ours)):
        ratio = rival.bytes.total() / count.bytes.total()
        print(f"{name:14}{count.bytes.total() / audio / 1e9:22.2f}{count.kernels:17d}{ratio:7.2f}x")
    for card in CARDS:
        bounds = (REACHED * card.bandwidth * audio / one.bytes.total() for one in (rival, ours))
        print(
            f"{card.name:20} at {REACHED:.0%} of its bandwidth: RTFx " + " and ".join(f"{one:,.0f}" for one in bounds)
        )
    for name, moved in ours.bytes.most_common(6):
        print(f"  {name:30}{moved / audio / 1e9:8.3f} GB{moved / ours.bytes.total():7.1%}")
    return ours.bytes.total() / audio > AIM


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.encoder", description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--seconds", type=float, default=8.0, help="length of a piece (default %(default)s)")
    add("--rows", type=int, nargs="+", metavar="N", default=[1, 4], help="recordings side by side")
    add("--repeats", type=int, default=3, help="pairs of which the median is taken (default %(default)s)")
    add("--precision", choices=["fp32", "bf16", "fp16"], default="fp32", help="of the encoders")
    add("--compile", action="store_true", help="join sums and norms by PyTorch's compiler, as a worker does on a GPU")
    add("--device", default="cpu", help="PyTorch's name of the device")
    add("--tiny", action="store_true", help="a model of 0.5 M parameters: whether the program runs, not how fast")
    return parser.parse_args(argv)


if __name__ == "__main__":
    raise SystemExit(main())
