"""What a card could do at best, and what follows from what was measured on it. Pure.

`python -m bench.roofline [CARD]` prints the RTFx that each card allows at most, encoders and prompts included.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate, product
from operator import mul
from typing import Any

import numpy as np

from dropscribe.core.audio import SAMPLE_RATE
from dropscribe.models.vibevoice import memory_plan
from dropscribe.models.vibevoice.dimensions import PUBLISHED, ModelDimensions
from dropscribe.models.vibevoice.generation import Generation
from dropscribe.models.vibevoice.memory_plan import Precision
from dropscribe.models.vibevoice.parts import ModelPart
from dropscribe.models.vibevoice.prompt import FRAME_TOKENS

ANSWER_RATE = 6.0  # tokens of an answer for each second of audio: usual speech, as JSON
ENCODER_PASSES = (
    22  # over the tensor of each of their blocks: counted by bench.encoder, every operation on meta tensors
)
TOLERANCE = 0.10  # between the memory that is planned and what is taken
TOP_KERNELS = 15


@dataclass(frozen=True, slots=True)
class Card:
    """Bytes a second from memory, and operations a second in dense bf16 matrix products."""

    name: str
    bandwidth: float
    flops: float


CARDS = (  # by the vendors' data sheets; by the ends of the devices' names
    Card("H200", 4.8e12, 989e12),
    Card("H100 80GB HBM3", 3.35e12, 989e12),
    Card("A100-SXM4-80GB", 2.04e12, 312e12),
    Card("L40S", 0.864e12, 362e12),
    Card("RTX 4090", 1.008e12, 165e12),
)


def known_card(name: str) -> Card | None:
    """The card by the device's name; None where it is not in the table."""
    return next((card for card in CARDS if name.endswith(card.name)), None)


@dataclass(frozen=True, slots=True)
class Floor:
    """Seconds that something takes at least: to move its bytes, and to compute."""

    bandwidth: float
    arithmetic: float


def step_floor(card: Card, geometry: ModelDimensions, precision: Precision, requests: int, context: int) -> Floor:
    """One decode step of `requests`, each with `context` tokens in the cache.

    It reads the layers' weights and the head's once, and each request's keys and values. Arithmetic is that of the
    matrix products and of attention; int8 products run at twice bf16's rate.
    """
    head = geometry.vocabulary * geometry.hidden * precision.width
    others = geometry.parameters - geometry.linears(ModelPart.LANGUAGE_MODEL)[0]
    layers = memory_plan.weights(geometry, precision) - others * precision.width
    cached = requests * context * memory_plan.cache_per_token(geometry, precision)
    return Floor(
        (layers + head + cached) / card.bandwidth, requests * _token_seconds(card, geometry, precision, context)
    )


def roofline(card: Card, geometry: ModelDimensions, precision: Precision, requests: int, work: Work) -> float:
    """The RTFx of so many chunks at once if nothing took longer than its bytes or its arithmetic, one after the other.

    Encoders move their bytes, prompts are arithmetic, and a decode step is the slower of both.
    """
    encoders = work.seconds * encoder_bytes(geometry, precision) / card.bandwidth
    prefill = work.prompt * _token_seconds(card, geometry, precision, work.prompt // 2)
    step = step_floor(card, geometry, precision, requests, work.middle)
    decode = work.answer * max(step.bandwidth, step.arithmetic) / requests
    return work.seconds / (encoders + prefill + decode)


def encoder_bytes(geometry: ModelDimensions, precision: Precision) -> float:
    """Bytes that the encoders move for a second of audio: 0.78 GB for the published shape in 16 bits."""
    numbers = 0.0
    for encoder in geometry.encoders:
        rates = accumulate((1, *encoder.ratios), mul)
        for rate, width, depth in zip(rates, encoder.widths, encoder.depths, strict=True):
            numbers += SAMPLE_RATE / rate * width * depth
    return numbers * ENCODER_PASSES * precision.width


def _token_seconds(card: Card, geometry: ModelDimensions, precision: Precision, context: int) -> float:
    products = 2 * geometry.linears(ModelPart.LANGUAGE_MODEL)[0] / (2 if precision is Precision.INT8 else 1)
    attention = 4 * geometry.layers * geometry.heads * geometry.head_dim * context
    return (products + attention + 2 * geometry.vocabulary * geometry.hidden) / card.flops


@dataclass(frozen=True, slots=True)
class Work:
    """What one chunk of audio is made of, in tokens."""

    seconds: float
    audio: int
    prompt: int
    answer: int

    @classmethod
    def of(cls, geometry: ModelDimensions, seconds: float) -> Work:
        """The audio's tokens, the request around them, and an answer at `ANSWER_RATE`."""
        audio = geometry.audio_tokens(seconds)
        return cls(seconds, audio, audio + FRAME_TOKENS, round(ANSWER_RATE * seconds))

    @property
    def middle(self) -> int:
        """Tokens in the cache when half of the answer is written."""
        return self.prompt + self.answer // 2


@dataclass(frozen=True, slots=True)
class Rates:
    """Tokens a second over all requests: of prompts read, and of answers while all `requests` are written.

    `host` are the seconds of a decode step in which the host does not wait for the device; None where nobody counts.
    """

    requests: int
    prefill: float
    decode: float
    host: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One cell of the table: how `chunks` of `work` fare on one engine.

    `encoder` is seconds of audio a second, `roof` the RTFx that the card allows at most.
    """

    precision: str
    engine: str
    chunks: int
    work: Work
    encoder: float
    rates: Rates
    floor: Floor
    ratio: float = 1.0
    roof: float = math.inf

    @property
    def parts(self) -> dict[str, float]:
        """Seconds that one chunk takes of encoder, prefill and decode."""
        work, rates = self.work, self.rates
        return {
            "encoder": work.seconds / self.encoder,
            "prefill": work.prompt / rates.prefill,
            "decode": work.answer / rates.decode,
        }

    @property
    def rtfx(self) -> float:
        """Seconds of audio transcribed in a second."""
        return self.work.seconds / sum(self.parts.values())

    @property
    def step(self) -> float:
        """Seconds of one decode step."""
        return self.rates.requests / self.rates.decode

    @property
    def kernels(self) -> float:
        """Seconds of a decode step in which the host waits for the kernels; where nobody counts, all of it."""
        return self.step - (self.rates.host or 0.0)

    @property
    def is_host_bound(self) -> bool:
        """Whether the host takes more of a decode step than the kernels."""
        return self.rates.host is not None and self.rates.host > self.kernels

    def facts(self) -> dict[str, Any]:
        """All numbers, for JSON."""
        derived = {"parts": self.parts, "rtfx": self.rtfx, "step": self.step, "kernels": self.kernels}
        return asdict(self) | derived | {"host_bound": self.is_host_bound}

    def __str__(self) -> str:
        """A line under `HEADER`: the floors stand beside the step, the seconds are those of one chunk."""
        encoder, prefill, decode = self.parts.values()
        host = "-" if self.rates.host is None else f"{1e3 * self.rates.host:.2f}"
        kernels = "-" if self.rates.host is None else f"{1e3 * self.kernels:.2f}"
        memory, compute = 1e3 * self.floor.bandwidth, 1e3 * self.floor.arithmetic
        return (
            f"{self.precision:5}{self.engine:28}{self.chunks:7d}{self.rates.requests:8d}{self.work.seconds / 60:7.3g}"
            f"{self.rates.decode:10,.0f}{self.rtfx:9,.1f}{self.ratio:7.2f}x{self.rtfx / self.roof:8.0%}"
            f"{1e3 * self.step:9.2f}"
            f"{memory:8.2f}{compute:8.2f}{kernels:>11}{host:>8}{encoder:11.3f}{prefill:10.3f}{decode:10.3f}"
            f"{'  the host is the bound' if self.is_host_bound else ''}"
        )


HEADER = (
    f"{'':5}{'engine':28}{'chunks':>7}{'at once':>8}{'min':>7}{'tokens/s':>10}{'RTFx':>9}{'ratio':>8}{'of roof':>8}"
    f"{'step ms':>9}{'mem ms':>8}{'calc ms':>8}{'kernels ms':>11}{'host ms':>8}"
    f"{'encoder s':>11}{'prefill s':>10}{'decode s':>10}"
)


Trace = list[tuple[float, int]]  # (moment, tokens so far) of one request; the first is that of its first token


def decode_rate(traces: Sequence[Trace]) -> float:
    """Tokens a second while all requests were written at once; over everything where they never were.

    Between two moments of a trace its tokens came evenly.
    """
    begin, end = max(trace[0][0] for trace in traces), min(trace[-1][0] for trace in traces)
    if end <= begin:
        begin, end = min(trace[0][0] for trace in traces), max(trace[-1][0] for trace in traces)
    count = sum(_count(trace, end) - _count(trace, begin) for trace in traces)
    return count / (end - begin) if end > begin else 0.0


def _count(trace: Trace, moment: float) -> float:
    moments, counts = zip(*trace, strict=True)
    return float(np.interp(moment, moments, counts))


def trace_of(began: float, generation: Generation, heard: Trace) -> Trace:
    """All that is known of one request: both ends exactly, and between them what its listener heard."""
    first = began + generation.prefill
    last = first + generation.decode
    between = [(moment, count) for moment, count in heard if first < moment < last]
    return [(first, 1), *between, (last, len(generation.tokens))]


@dataclass(frozen=True, slots=True)
class Memory:
    """One part of the plan, and what was taken for it, in bytes."""

    part: str
    planned: int
    measured: int

    @property
    def ratio(self) -> float:
        """Measured over planned."""
        return self.measured / self.planned

    def __str__(self) -> str:
        mark = "" if abs(self.ratio - 1) <= TOLERANCE else f"  more than {TOLERANCE:.0%} off"
        sizes = f"{self.planned / 1e9:9.3f} GB planned{self.measured / 1e9:9.3f} measured{self.ratio:7.2f}x"
        return f"  {self.part:36}{sizes}{mark}"


def kernel_table(times: Mapping[str, float], steps: float, seconds: float) -> list[str]:
    """Of seconds by kernel, lines: milliseconds a step, share of the whole time, name; the longest first."""
    longest = sorted(times.items(), key=lambda item: -item[1])[:TOP_KERNELS]
    rows = [*longest, ("all kernels", sum(times.values())), ("a step, as the clock sees it", seconds)]
    return [f"  {1e3 * spent / max(steps, 1.0):9.3f} ms {spent / seconds:6.1%}  {name[:90]}" for name, spent in rows]


def main(argv: Sequence[str]) -> int:
    """Print the rooflines of the cards whose names hold the first argument, of all without one."""
    counts = (1, 16, 64, 128)
    print(f"{'card':20}{'':6}{'min':>4}" + "".join(f"{f'{count} at once':>14}" for count in counts))
    for card, precision, minutes in product(CARDS, memory_plan.BEST_FIRST, (5, 15)):
        if "".join(argv[:1]) in card.name:
            work = Work.of(PUBLISHED, 60 * minutes)
            roofs = (roofline(card, PUBLISHED, precision, count, work) for count in counts)
            print(f"{card.name:20}{precision:6}{minutes:4}" + "".join(f"{roof:14,.0f}" for roof in roofs))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
