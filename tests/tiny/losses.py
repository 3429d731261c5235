"""What is minimized: CTC and voice on the encoders, and on the language model the next token and its helpers."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface

from tests.tiny.checkpoint import Model
from tests.tiny.encoder import encode
from tests.tiny.synthesis import VOICES
from tests.tiny.targets import LEXICON, NONE, Batch

READERS = 2  # layers at the end: the first looks into the audio, by what the states before it know; the last writes
POINTING_HEAD = 0  # the head of that next layer, and of the one after it, which is told where to look
ENCODER_SHARE = 0.25  # of the language model's gradient that reaches the encoders
ENOUGH = 2000  # positions of a batch, for one helper
LONGEST = 680  # frames, 90 s
HEAD_SIZES = {"ctc": len(LEXICON) + 1, "voice": len(VOICES), "ordinal": 20, "word": len(LEXICON), "turn": 40}
HEAD_SIZES |= {"speaker": len(VOICES), "start": LONGEST, "frame": LONGEST, "last": 2, "known": len(VOICES) + 1}
WEIGHTS = {"ctc": 0.3, "voice": 0.1, "token": 1.0, "ordinal": 0.3, "word": 0.3, "turn": 0.2, "speaker": 0.3}
WEIGHTS |= {
    "start": 0.3,
    "last": 0.1,
    "known": 0.1,
    "heard": 0.1,
    "recall": 0.3,
    "frame": 0.2,
    "read": 0.2,
    "pointer": 0.3,
}


def build_heads(hidden: int) -> nn.ModuleDict:
    """Linear read-outs that only training knows; they are no part of the checkpoint."""
    return nn.ModuleDict({name: nn.Linear(hidden, size) for name, size in HEAD_SIZES.items()})


def features(model: Model, audio: Tensor) -> Tensor:
    """(batch, samples) to audio embeddings (batch, frames, hidden), with gradients."""
    inner = model.model
    acoustic = encode(inner.acoustic_tokenizer_encoder, audio)
    embeddings: Tensor = inner.multi_modal_projector(acoustic, encode(inner.semantic_tokenizer_encoder, audio))
    return embeddings


def pointed_attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, *, scaling: float, **_: Any
) -> tuple[Tensor, Tensor]:
    """Fused causal attention, four times as fast as "eager" over 850 positions, that shows two heads' weights only.

    For training only: it takes no mask, as padding at the right is seen by nothing that counts.
    """
    assert mask is None
    groups = query.shape[1] // key.shape[1]
    key, value = (one.repeat_interleave(groups, dim=1) for one in (key, value))
    mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scaling)
    weights = torch.empty(0)
    if module.layer_idx >= module.config.num_hidden_layers - READERS:
        scores = (query[:, POINTING_HEAD] @ key[:, POINTING_HEAD].mT).float() * scaling
        later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        weights = scores.masked_fill(later, -math.inf).softmax(-1)[:, None]
    return mixed.transpose(1, 2).contiguous(), weights


AttentionInterface.register("pointed", pointed_attention)


def encoder_losses(heads: nn.ModuleDict, audio: Tensor, batch: Batch) -> dict[str, Tensor]:
    logits = heads["ctc"](audio).float().log_softmax(-1).transpose(0, 1)
    frames = torch.tensor([example.frames for example in batch.examples])
    sizes = torch.tensor([example.words.numel() for example in batch.examples])
    words = torch.cat([example.words for example in batch.examples])
    ctc = functional.ctc_loss(logits, words, frames, sizes, zero_infinity=True, reduction="sum") / sizes.sum()
    voices = nn.utils.rnn.pad_sequence(
        [example.voices for example in batch.examples], batch_first=True, padding_value=NONE
    )
    return {"ctc": ctc, "voice": _cross_entropy(heads["voice"], audio, voices)}


def language_losses(model: Model, heads: nn.ModuleDict, audio: Tensor, batch: Batch) -> dict[str, Tensor]:
    embeddings = model.get_input_embeddings()(batch.ids)
    valid = torch.arange(audio.shape[1]) < torch.tensor([example.frames for example in batch.examples])[:, None]
    audio = ENCODER_SHARE * audio + (1 - ENCODER_SHARE) * audio.detach()
    embeddings = embeddings.masked_scatter(batch.is_audio[..., None], audio[valid].to(embeddings.dtype))
    output = model.model.language_model(
        inputs_embeds=embeddings, use_cache=False, output_hidden_states=True, output_attentions=True
    )
    labels, middle, later = batch.labels, output.hidden_states[-READERS - 1], output.hidden_states[-READERS]
    losses = {
        name: _cross_entropy(heads[name], middle, getattr(labels, name))
        for name in ("ordinal", "word", "turn", "speaker", "start", "known")
    }
    losses["frame"] = _cross_entropy(heads["frame"], middle, labels.frame.where(batch.is_audio, NONE))
    losses["read"] = _cross_entropy(heads["frame"], later, labels.frame.where(~batch.is_audio, NONE))
    losses["heard"] = _cross_entropy(heads["voice"], later, labels.voice)
    losses["last"] = _cross_entropy(heads["last"], later, labels.last)
    answer = batch.targets != NONE
    losses["token"] = functional.cross_entropy(
        model.lm_head(output.last_hidden_state[answer]).float(), batch.targets[answer]
    )
    losses["recall"] = _recall_loss(output.attentions[-1][:, POINTING_HEAD], batch)
    losses["pointer"] = _pointer_loss(output.attentions[-READERS][:, POINTING_HEAD], batch)
    return losses


def _cross_entropy(head: nn.Module, hidden: Tensor, labels: Tensor) -> Tensor:
    """Over all positions with a label, or over enough of them, drawn at random."""
    chosen = (labels != NONE).nonzero()
    if len(chosen) > ENOUGH:
        chosen = chosen[torch.randperm(len(chosen))[:ENOUGH]]
    rows, columns = chosen.unbind(1)
    return functional.cross_entropy(head(hidden[rows, columns]).float(), labels[rows, columns])


def _pointer_loss(attention: Tensor, batch: Batch) -> Tensor:
    """Minus the logarithm of the attention (batch, positions, positions) that falls on the frames to look at."""
    looking = batch.labels.look_from != NONE
    start = torch.tensor([example.audio_start for example in batch.examples])[:, None]
    keys = torch.arange(attention.shape[-1])
    low, high = (batch.labels.look_from + start)[looking], (batch.labels.look_to + start)[looking]
    wanted = (keys >= low[:, None]) & (keys <= high[:, None])
    mass = (attention[looking].float() * wanted).sum(-1)
    return -(mass + 1e-4).log().mean()


def _recall_loss(attention: Tensor, batch: Batch) -> Tensor:
    """As for the pointer, one layer later: before a speaker's number, look at the numbers written for that voice."""
    voice, known = batch.labels.voice, batch.labels.known
    asking, written = known != NONE, (voice != NONE) & (known == NONE)
    rows, columns = asking.nonzero().unbind(1)
    earlier = torch.arange(voice.shape[1]) < columns[:, None]
    wanted = written[rows] & earlier & (voice[rows] == voice[rows, columns][:, None])
    again = wanted.any(-1)
    mass = (attention[rows[again], columns[again]].float() * wanted[again]).sum(-1)
    return -(mass + 1e-4).log().sum() / max(1, len(mass))  # where no voice comes back, nothing is asked
