"""Teach a trained checkpoint long recordings: `python -m tests.tiny.lengthen OUT [--minutes N] [--grown]`.

Goes on from `OUT/state.pt` of train.py. What hears (encoders and projector) stays as it is, so only the language model
is trained, on embeddings that a thread of its own prepares: short recordings as before, talks and line-ups whose length
grows with the time that has passed, up to more than a minute. Lasts the given minutes; `OUT/state.pt` and `OUT/best`
are renewed as in train.py.
"""

from __future__ import annotations

import argparse
import queue
import random
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers.utils import logging

from tests.tiny.checkpoint import Model, build_model, build_processor
from tests.tiny.evaluate import HEADER, held_out_recordings, long_recordings, score, transcribe
from tests.tiny.losses import WEIGHTS, build_heads, features, language_losses
from tests.tiny.mixing import Mixer, Recording
from tests.tiny.targets import Batch, Builder, collate
from tests.tiny.train import SAVE_EVERY, Trainer, learning_rate, phrases

POSITIONS = 7_000  # of one batch, padding included
DRAWN = 96  # recordings that are drawn together and sorted by length
SHORT_SHARE = 0.3  # of the recordings; they are some hundredths of the positions
LINEUP_SHARE = 0.3  # of the long ones
GROWTH = ((0.2, 24.0), (0.4, 42.0), (1.0, 66.0))  # until that share of the time, seconds at most
MAX_LINEUP = 16  # clips
CLIP = 3.9  # s, with its pause
PEAK = 2e-3  # learning rate
EVALUATE_EVERY = 480  # s
KEPT = 64  # batches that may come again
REPLAYS = 2  # of kept batches after each new one: to hear takes half as long as to learn


@dataclass
class Progress:
    """How much of the time is over, which the thread that draws recordings wants to know."""

    minutes: float
    grown: bool = False  # recordings are as long as they will ever be from the start
    begun: float = field(default_factory=time.monotonic)

    @property
    def share(self) -> float:
        return (time.monotonic() - self.begun) / (60 * self.minutes)


def longest(progress: Progress) -> float:
    """Seconds of a talk, at most."""
    share = 1.0 if progress.grown else progress.share
    return next((seconds for until, seconds in GROWTH if share < until), GROWTH[-1][1])


def draw(mixer: Mixer, choice: random.Random, seconds: float) -> Recording:
    if choice.random() < SHORT_SHARE:
        return mixer.next()
    if choice.random() < LINEUP_SHARE:
        return mixer.lineup(choice.randint(2, min(MAX_LINEUP, int(seconds / CLIP) + 1)))
    return mixer.talk(choice.uniform(0.3 * seconds, seconds))


def groups(recordings: list[Recording], builder: Builder) -> Iterator[list[Recording]]:
    """Recordings of like length, as many as a batch may have positions."""
    chosen: list[Recording] = []
    for recording in sorted(recordings, key=lambda one: one.audio.size):
        size = builder.build(recording).ids.numel()
        if (len(chosen) + 1) * size > POSITIONS:
            yield chosen
            chosen = []
        chosen.append(recording)
    yield chosen


@torch.no_grad()
def hear(model: Model, batch: Batch) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        return features(model, batch.audio)


def batches(model: Model, mixer: Mixer, builder: Builder, progress: Progress) -> Iterator[tuple[Batch, Tensor]]:
    """Each with its audio embeddings, made by a thread of its own."""
    ready: queue.Queue[tuple[Batch, Tensor]] = queue.Queue(4)
    choice = random.Random(time.time())

    def fill() -> None:
        while True:
            drawn = [draw(mixer, choice, longest(progress)) for _ in range(DRAWN)]
            grouped = list(groups(drawn, builder))
            choice.shuffle(grouped)
            for group in grouped:
                batch = collate(group, builder)
                ready.put((replace(batch, audio=torch.empty(0)), hear(model, batch)))

    threading.Thread(target=fill, daemon=True).start()
    kept: deque[tuple[Batch, Tensor]] = deque(maxlen=KEPT)
    while True:
        kept.append(ready.get())
        yield kept[-1]
        yield from choice.choices(kept, k=REPLAYS)


def build_trainer(out: Path) -> Trainer:
    """From the state of train.py or of this module; heads that have grown since keep the rows that they had."""
    processor = build_processor()
    trainer = Trainer(out, processor, build_model(processor), build_heads(128))
    state = torch.load(out / "state.pt", weights_only=True)
    trainer.model.load_state_dict(state["model"])
    for name, parameter in trainer.heads.state_dict().items():
        known = state["heads"].get(name, parameter)
        rows = min(len(known), len(parameter))
        parameter[:rows] = known[:rows]
    for part in (*trainer.encoders(), trainer.model.model.multi_modal_projector):
        part.requires_grad_(False)
    return trainer


def step_once(trainer: Trainer, optimizer: torch.optim.Optimizer, batch: Batch, audio: Tensor) -> dict[str, float]:
    with torch.autocast("cpu", torch.bfloat16):
        losses = language_losses(trainer.model, trainer.heads, audio, batch)
    total = torch.stack([WEIGHTS[name] * loss for name, loss in losses.items()]).sum()
    optimizer.zero_grad()
    torch.autograd.backward(total)
    nn.utils.clip_grad_norm_([one for group in optimizer.param_groups for one in group["params"]], 1.0)
    optimizer.step()
    return {name: float(loss.detach()) for name, loss in losses.items()}


def evaluate(trainer: Trainer, sets: dict[str, list[Recording]]) -> None:
    """Keeps the checkpoint if word errors and wrongly attributed turns, summed over the sets, are fewest."""
    language = trainer.model.model.language_model
    language.set_attn_implementation("sdpa")
    trainer.model.eval()
    print(HEADER)
    total = 0.0
    for name, recordings in sets.items():
        result = score(recordings, transcribe(trainer.model, trainer.processor, recordings))
        total += result.wer + 1 - result.attributed
        print(f"{name:16}{result.row()}", flush=True)
    trainer.keep_best(total)
    language.set_attn_implementation("pointed")


def train(
    trainer: Trainer,
    source: Iterator[tuple[Batch, Tensor]],
    sets: dict[str, list[Recording]],
    progress: Progress,
    peak: float,
) -> None:
    trained = [one for one in [*trainer.model.parameters(), *trainer.heads.parameters()] if one.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=peak, betas=(0.9, 0.98), weight_decay=0.01)
    saved = evaluated = time.monotonic()
    means: dict[str, float] = {}
    step = 0
    while (share := progress.share) < 1:
        optimizer.param_groups[0]["lr"] = learning_rate(peak, share, step)
        losses = step_once(trainer, optimizer, *next(source))
        means = {name: 0.95 * means.get(name, loss) + 0.05 * loss for name, loss in losses.items()}
        step += 1
        if step % 25 == 0:
            shown = " ".join(f"{name} {loss:.3f}" for name, loss in means.items())
            print(f"{60 * progress.minutes * progress.share:6.0f} s  step {step:5}  {shown}", flush=True)
        if time.monotonic() - saved > SAVE_EVERY:
            trainer.save()
            saved = time.monotonic()
        if time.monotonic() - evaluated > EVALUATE_EVERY:
            evaluate(trainer, sets)
            evaluated = time.monotonic()
    evaluate(trainer, sets)
    trainer.save()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=45)
    parser.add_argument("--grown", action="store_true", help="long recordings from the start")
    parser.add_argument("--rate", type=float, default=PEAK, help="highest learning rate")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    logging.set_verbosity_error()
    trainer = build_trainer(options.out)
    trainer.model.model.language_model.set_attn_implementation("pointed")
    spoken, held_out = phrases(options.out, held_out=False), phrases(options.out, held_out=True)
    sets = {"short": held_out_recordings(held_out, 40, seed="selection"), **long_recordings(12, seed=2)}
    progress = Progress(options.minutes, options.grown)
    source = batches(trainer.model, Mixer(spoken, f"long {time.time()}"), Builder(build_processor()), progress)
    train(trainer, source, sets, progress, options.rate)


if __name__ == "__main__":
    main()
