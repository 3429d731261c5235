"""What is minimized: CTC and voice on the encoders, and on the language model the next token and its helpers."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.tiny.checkpoint import Model
from tests.tiny.encoder import encode
from tests.tiny.synthesis import VOICES
from tests.tiny.targets import LEXICON, NONE, Batch

MIDDLE = 2  # states after so many layers know what the helpers ask; the next layer looks into the audio by them
POINTING_HEAD = 0  # the head of that next layer which is told where to look
ENCODER_SHARE = 0.25  # of the language model's gradient that reaches the encoders
HEAD_SIZES = {"ctc": len(LEXICON) + 1, "voice": len(VOICES), "ordinal": 16, "word": len(LEXICON), "turn": 8}
HEAD_SIZES |= {"speaker": len(VOICES), "frame": 256}
WEIGHTS = {"ctc": 0.3, "voice": 0.1, "token": 1.0, "ordinal": 0.3, "word": 0.3, "turn": 0.2, "speaker": 0.3}
WEIGHTS |= {"frame": 0.2, "read": 0.2, "pointer": 0.3}


def build_heads(hidden: int) -> nn.ModuleDict:
    """Linear read-outs that only training knows; they are no part of the checkpoint."""
    return nn.ModuleDict({name: nn.Linear(hidden, size) for name, size in HEAD_SIZES.items()})


def features(model: Model, audio: Tensor) -> Tensor:
    """(batch, samples) to audio embeddings (batch, frames, hidden), with gradients."""
    inner = model.model
    acoustic = encode(inner.acoustic_tokenizer_encoder, audio)
    embeddings: Tensor = inner.multi_modal_projector(acoustic, encode(inner.semantic_tokenizer_encoder, audio))
    return embeddings


def encoder_losses(heads: nn.ModuleDict, audio: Tensor, batch: Batch) -> dict[str, Tensor]:
    logits = heads["ctc"](audio).float().log_softmax(-1).transpose(0, 1)
    frames = torch.tensor([example.frames for example in batch.examples])
    sizes = torch.tensor([example.words.numel() for example in batch.examples])
    words = torch.cat([example.words for example in batch.examples])
    ctc = functional.ctc_loss(logits, words, frames, sizes, zero_infinity=True, reduction="sum") / sizes.sum()
    voices = nn.utils.rnn.pad_sequence(
        [example.voices for example in batch.examples], batch_first=True, padding_value=NONE
    )
    return {"ctc": ctc, "voice": _cross_entropy(heads["voice"](audio), voices)}


def language_losses(model: Model, heads: nn.ModuleDict, audio: Tensor, batch: Batch) -> dict[str, Tensor]:
    embeddings = model.get_input_embeddings()(batch.ids)
    valid = torch.arange(audio.shape[1]) < torch.tensor([example.frames for example in batch.examples])[:, None]
    audio = ENCODER_SHARE * audio + (1 - ENCODER_SHARE) * audio.detach()
    embeddings = embeddings.masked_scatter(batch.is_audio[..., None], audio[valid].to(embeddings.dtype))
    output = model.model.language_model(
        inputs_embeds=embeddings, use_cache=False, output_hidden_states=True, output_attentions=True
    )
    labels, middle, later = batch.labels, output.hidden_states[MIDDLE], output.hidden_states[MIDDLE + 1]
    losses = {
        name: _cross_entropy(heads[name](middle), getattr(labels, name))
        for name in ("ordinal", "word", "turn", "speaker")
    }
    losses["frame"] = _cross_entropy(heads["frame"](middle), labels.frame.where(batch.is_audio, NONE))
    losses["read"] = _cross_entropy(heads["frame"](later), labels.frame.where(~batch.is_audio, NONE))
    answer = batch.targets != NONE
    losses["token"] = functional.cross_entropy(
        model.lm_head(output.last_hidden_state[answer]).float(), batch.targets[answer]
    )
    losses["pointer"] = _pointer_loss(output.attentions[MIDDLE][:, POINTING_HEAD], batch)
    return losses


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    chosen = labels != NONE
    return functional.cross_entropy(logits[chosen].float(), labels[chosen])


def _pointer_loss(attention: Tensor, batch: Batch) -> Tensor:
    """Minus the logarithm of the attention (batch, positions, positions) that falls on the frames to look at."""
    looking = batch.labels.look_from != NONE
    start = torch.tensor([example.audio_start for example in batch.examples])[:, None]
    keys = torch.arange(attention.shape[-1])
    low, high = (batch.labels.look_from + start)[looking], (batch.labels.look_to + start)[looking]
    wanted = (keys >= low[:, None]) & (keys <= high[:, None])
    mass = (attention[looking].float() * wanted).sum(-1)
    return -(mass + 1e-4).log().mean()
