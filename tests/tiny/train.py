"""Train the tiny checkpoint: `python -m tests.tiny.train OUT [--minutes N] [--resume]`.

First the encoders alone, with CTC on the words, then everything together (losses.py). Lasts the given minutes on
whatever the machine is; learning rate and phases follow the clock. `OUT/state.pt` is renewed every minute and
`OUT/best` holds the best checkpoint so far, both atomically. `--resume` goes on from the state with the second phase.
"""

from __future__ import annotations

import argparse
import math
import queue
import random
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import VibeVoiceAsrProcessor
from transformers.utils import logging

from tests.tiny import synthesis
from tests.tiny.checkpoint import FEW_LAYERS, Model, build_model, build_processor, save_checkpoint
from tests.tiny.encoder import (
    encode,
    freeze_inner_biases,
    freeze_quick_stages,
    front_end,
    start_as_filterbank,
    start_as_rectifier,
)
from tests.tiny.evaluate import HEADER, held_out_phrases, held_out_recordings, score, transcribe
from tests.tiny.losses import WEIGHTS, build_heads, encoder_losses, features, language_losses
from tests.tiny.mixing import Mixer
from tests.tiny.targets import Batch, Builder, collate

BATCH = 32
DRAWN = 4  # batches that are drawn together and sorted by length
PEAK = 1.5e-3  # learning rate
FRONT_END_SHARE = 0.2  # of it, for the filterbank, which starts well
WARM_UP = 60  # steps
ENCODER_PHASE = 0.3  # of the whole time at most
ENCODER_READY = 0.2  # CTC loss a word at which the encoders' phase ends
PHRASES = 6000
SAVE_EVERY, EVALUATE_EVERY = 60, 360  # s
MAX_TOKENS = 250  # more than four turns with eight words can take


@dataclass
class Trainer:
    """What training changes, and where it is kept."""

    out: Path
    processor: VibeVoiceAsrProcessor
    model: Model
    heads: nn.ModuleDict
    best: float = math.inf

    def encoders(self) -> list[nn.Module]:
        return [self.model.model.acoustic_tokenizer_encoder, self.model.model.semantic_tokenizer_encoder]

    def save(self) -> None:
        part = self.out / "state.part"
        torch.save({"model": self.model.state_dict(), "heads": self.heads.state_dict(), "best": self.best}, part)
        part.replace(self.out / "state.pt")

    def load(self) -> None:
        state = torch.load(self.out / "state.pt", weights_only=True)
        self.model.load_state_dict(state["model"])
        self.heads.load_state_dict(state["heads"])
        self.best = state["best"]

    def keep_best(self, wer: float) -> None:
        """Write `best` in bf16 beside the old one, then swap them."""
        if wer >= self.best:
            return
        self.best = wer
        part = self.out / "best.part"
        shutil.rmtree(part, ignore_errors=True)
        copy = build_model(self.processor, layers=self.model.config.text_config.num_hidden_layers)
        copy.load_state_dict(self.model.state_dict())
        save_checkpoint(copy.to(torch.bfloat16), part)
        shutil.rmtree(self.out / "best", ignore_errors=True)
        part.rename(self.out / "best")


def phrases(out: Path, *, held_out: bool) -> list[synthesis.Phrase]:
    """Spoken once, then read from `out`."""
    path = out / ("held.npz" if held_out else "train.npz")
    if not path.exists():
        said = held_out_phrases() if held_out else synthesis.speak_all(PHRASES, held_out=False, seed=2)
        synthesis.save(said, path)
    return synthesis.load(path)


def batches(mixer: Mixer, builder: Builder) -> Iterator[Batch]:
    """Made by a thread of its own, two ahead, from recordings of like length, so that little is padding."""
    ready: queue.Queue[Batch] = queue.Queue(2)

    def fill() -> None:
        while True:
            drawn = sorted((mixer.next() for _ in range(DRAWN * BATCH)), key=lambda recording: recording.audio.size)
            for first in random.sample(range(0, DRAWN * BATCH, BATCH), DRAWN):
                ready.put(collate(drawn[first : first + BATCH], builder))

    threading.Thread(target=fill, daemon=True).start()
    while True:
        yield ready.get()


def build_trainer(out: Path, audio: Tensor, *, resume: bool) -> Trainer:
    processor = build_processor()
    model = build_model(processor, layers=FEW_LAYERS)
    model.set_attn_implementation("eager")  # faster than SDPA in bf16 on a CPU, and shows its weights to the pointer
    trainer = Trainer(out, processor, model, build_heads(model.config.text_config.hidden_size))
    for encoder in trainer.encoders():
        freeze_inner_biases(encoder)
        if not resume:
            print(f"filterbank fitted within {start_as_filterbank(encoder, audio):.1%}", flush=True)
            start_as_rectifier(encoder)
    if resume:
        trainer.load()
    return trainer


def check_arithmetic(trainer: Trainer, audio: Tensor) -> None:
    """The quick encoder must be the encoder of transformers."""
    with torch.no_grad():
        for encoder in trainer.encoders():
            wanted = encoder(audio[:, None]).latents
            difference = float((wanted - encode(encoder, audio)).abs().max() / wanted.std())
            if difference > 1e-3:  # what fp32 leaves of some thousand additions
                raise ArithmeticError(f"the quick encoder is off by {difference:.1e} of the latents' deviation")


def optimizer_for(trainer: Trainer) -> torch.optim.Optimizer:
    slow = {id(conv.weight) for encoder in trainer.encoders() for conv in front_end(encoder)}
    trained = [one for one in [*trainer.model.parameters(), *trainer.heads.parameters()] if one.requires_grad]
    groups = [
        {"params": [one for one in trained if id(one) not in slow], "share": 1.0},
        {"params": [one for one in trained if id(one) in slow], "share": FRONT_END_SHARE, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=PEAK, betas=(0.9, 0.98), weight_decay=0.01)


def learning_rate(peak: float, later: float, step: int) -> float:
    """Half a cosine down to a fiftieth; `later` is the share of the second phase that is over."""
    return peak * min(1.0, (step + 1) / WARM_UP) * (0.02 + 0.98 * (1 + math.cos(math.pi * later)) / 2)


def step_once(trainer: Trainer, optimizer: torch.optim.Optimizer, batch: Batch, *, joint: bool) -> dict[str, float]:
    with torch.autocast("cpu", torch.bfloat16):
        audio = features(trainer.model, batch.audio)
        losses = encoder_losses(trainer.heads, audio, batch)
        if joint:
            losses |= language_losses(trainer.model, trainer.heads, audio, batch)
    total = torch.stack([WEIGHTS[name] * loss for name, loss in losses.items()]).sum()
    optimizer.zero_grad()
    torch.autograd.backward(total)
    nn.utils.clip_grad_norm_([one for group in optimizer.param_groups for one in group["params"]], 1.0)
    optimizer.step()
    return {name: float(loss.detach()) for name, loss in losses.items()}


def evaluate(trainer: Trainer, held_out: list[synthesis.Phrase]) -> None:
    recordings = held_out_recordings(held_out, 48, seed="selection")
    trainer.model.eval()
    result = score(recordings, transcribe(trainer.model, trainer.processor, recordings, tokens=MAX_TOKENS))
    print(f"{HEADER}\n{'held out':8}{result.row()}", flush=True)
    trainer.keep_best(result.wer)


def train(
    trainer: Trainer,
    source: Iterator[Batch],
    held_out: list[synthesis.Phrase],
    *,
    minutes: float,
    peak: float,
    resume: bool,
) -> None:
    """Until the minutes are over; where it resumes, the encoders' phase is left out."""
    optimizer = optimizer_for(trainer)
    begun = saved = evaluated = time.monotonic()
    means: dict[str, float] = {}
    step, joint_from = 0, 0.0 if resume else math.inf
    while (progress := (time.monotonic() - begun) / (60 * minutes)) < 1:
        if progress >= ENCODER_PHASE or means.get("ctc", math.inf) < ENCODER_READY:
            joint_from = min(joint_from, progress)
        later = max(0.0, (progress - joint_from) / (1 - joint_from)) if joint_from < 1 else 0.0
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(peak, later, step) * group["share"]
        losses = step_once(trainer, optimizer, next(source), joint=joint_from < 1)
        means = {name: 0.9 * means.get(name, loss) + 0.1 * loss for name, loss in losses.items()}
        step += 1
        if step % 25 == 0:
            shown = " ".join(f"{name} {loss:.3f}" for name, loss in means.items())
            print(f"{time.monotonic() - begun:6.0f} s  step {step:5}  {shown}", flush=True)
        if time.monotonic() - saved > SAVE_EVERY:
            trainer.save()
            saved = time.monotonic()
        if joint_from < 1 and time.monotonic() - evaluated > EVALUATE_EVERY:
            evaluate(trainer, held_out)
            evaluated = time.monotonic()
    evaluate(trainer, held_out)
    trainer.save()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=70)
    parser.add_argument("--resume", action="store_true", help="go on from OUT/state.pt")
    parser.add_argument("--freeze", action="store_true", help="leave the encoders' first stages as they are")
    parser.add_argument("--rate", type=float, default=PEAK, help="highest learning rate")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    logging.set_verbosity_error()
    options.out.mkdir(parents=True, exist_ok=True)
    held_out, spoken = phrases(options.out, held_out=True), phrases(options.out, held_out=False)
    source = batches(Mixer(spoken, f"train {time.time()}"), Builder(build_processor()))
    audio = next(source).audio[:8]
    trainer = build_trainer(options.out, audio, resume=options.resume)
    if options.freeze:
        for encoder in trainer.encoders():
            freeze_quick_stages(encoder)
    check_arithmetic(trainer, audio)
    train(trainer, source, held_out, minutes=options.minutes, peak=options.rate, resume=options.resume)
    check_arithmetic(trainer, audio)


if __name__ == "__main__":
    main()
