"""Build a Whisper checkpoint of any size in the file layout of openai/whisper-tiny, without the network.

`random_whisper` has random weights, for measuring. `reciting_whisper` has weights by which each token leads to the next
one of a script: it recites that in every window, whatever it hears, with words at the times that the script gives them.
"""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch import nn
from transformers import (
    AddedToken,
    GenerationConfig,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperProcessor,
    WhisperTokenizer,
)
from transformers.models.whisper.tokenization_whisper import LANGUAGES

from tests.tiny.phrases import DIGITS

Model = Any  # WhisperForConditionalGeneration, whose annotations are stricter than its code
FRAMES_A_SECOND = 50  # of the encoder, and steps of its timestamps
MAX_WORD = 7  # letters; merges beyond whole words would only cost numbers
MARKS = ("<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>")


@dataclass(frozen=True, slots=True)
class Shape:
    """Encoder and decoder alike. The published models have 50,257 ids of text; all hear 30 s."""

    hidden: int
    layers: int
    heads: int
    mels: int = 80
    seconds: int = 30
    text_ids: int = 0  # 0: as many as the words of the test need
    multilingual: bool = True


TINY = Shape(hidden=128, layers=1, heads=2)
PUBLISHED_TINY = Shape(hidden=384, layers=4, heads=6, text_ids=50_257)
PUBLISHED_BASE = Shape(hidden=512, layers=6, heads=8, text_ids=50_257)
PUBLISHED_SMALL = Shape(hidden=768, layers=12, heads=12, text_ids=50_257)


def random_whisper(folder: Path, shape: Shape = TINY, *, seed: int = 0) -> Path:
    """Write an untrained checkpoint in fp32 into `folder` and return it."""
    processor = build_processor(shape)
    model = build_model(processor, shape, seed=seed)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def reciting_whisper(folder: Path, script: str, *, language: str = "en") -> Path:
    """Write a model that says a script in Whisper's notation, as `<|1.00|> one two<|2.00|>`, into `folder`.

    A token that comes twice makes it go round in circles. `language` is the one that the model believes to hear;
    empty, it knows English alone.
    """
    shape = replace(TINY, multilingual=bool(language))
    processor = build_processor(shape)
    model = build_model(processor, shape, tied=False)
    tokenizer = processor.tokenizer
    said = tokenizer(script, add_special_tokens=False)["input_ids"]
    before = ["<|startoftranscript|>", *([f"<|{language}|>", "<|transcribe|>"] if language else [])]
    with torch.no_grad():
        _recite(model, [*tokenizer.convert_tokens_to_ids(before), *said, tokenizer.eos_token_id])
        words = [token for token in said if token < tokenizer.eos_token_id]
        model.model.decoder.embed_tokens.weight[tokenizer.convert_tokens_to_ids("<|notimestamps|>")] = (
            model.model.decoder.embed_tokens.weight[said[said.index(words[0]) - 1]]
        )
        _set_moments(model.model, _moments(tokenizer, said), len(before))
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


CODES = TINY.hidden // 2  # numbers that tell tokens apart; the others tell moments


def _recite(model: Any, says: list[int]) -> None:
    """Layers pass on what they get, and what stands for a token at the beginning is the next one at the end."""
    for layer in (*model.model.encoder.layers, *model.model.decoder.layers):
        for name in ("self_attn", "encoder_attn"):
            if hasattr(layer, name):
                _clear(getattr(layer, name).out_proj)
        _clear(layer.fc2)
    codes, given = model.proj_out.weight, model.model.decoder.embed_tokens.weight
    codes[:, CODES:] = 0
    codes /= codes.norm(dim=1, keepdim=True)
    given.zero_()
    for one, after in reversed(list(itertools.pairwise(says))):  # what comes again leads back
        given[one] = 20 * codes[after]
    model.model.decoder.embed_positions.weight.zero_()
    model.model.decoder.layer_norm.weight.fill_(4)  # so that it is sure


def _set_moments(model: Any, moments: list[float], begin: int) -> None:
    """One head looks from the position of each word to its moment, when the words alone are read for their times."""
    _clear(model.encoder.conv2)  # so that the encoder's states are the sinusoids of their positions
    quarter = torch.arange(TINY.hidden // 4)
    waves = torch.cat([quarter, TINY.hidden // 2 + quarter])  # sine and cosine of the quicker ones
    frames = torch.tensor([round(moment * FRAMES_A_SECOND) for moment in moments], dtype=torch.long)
    model.decoder.embed_positions.weight[begin : begin + len(moments), CODES:] = (
        2 * model.encoder.embed_positions.weight[frames][:, waves]
    )
    attention = model.decoder.layers[-1].encoder_attn
    for linear in (attention.q_proj, attention.k_proj):
        _clear(linear)
    ones = torch.arange(CODES)
    attention.q_proj.weight[ones, CODES + ones] = 1.5
    attention.k_proj.weight[ones, waves] = 1.0


def _clear(linear: Any) -> None:
    linear.weight.zero_()
    if linear.bias is not None:
        linear.bias.zero_()


def _moments(tokenizer: WhisperTokenizer, said: list[int]) -> list[float]:
    """The middle of each token of text, which share the time between the marks around them; at last that of the end."""
    zero = tokenizer.convert_tokens_to_ids("<|0.00|>")
    marks = [at for at, token in enumerate(said) if token >= zero]
    found = []
    for first, last in itertools.pairwise(marks):
        begin, end = ((said[at] - zero) / FRAMES_A_SECOND for at in (first, last))
        count = last - first - 1
        found += [begin + (end - begin) * (index + 0.5) / count for index in range(count)]
    return [*found, (said[marks[-1]] - zero) / FRAMES_A_SECOND + 0.3]


def build_processor(shape: Shape) -> WhisperProcessor:
    extractor = WhisperFeatureExtractor(feature_size=shape.mels, chunk_length=shape.seconds)
    return WhisperProcessor(feature_extractor=extractor, tokenizer=_tokenizer(shape))


def _tokenizer(shape: Shape) -> WhisperTokenizer:
    """Byte-level BPE in which each digit's word is one token; the special ones in the order of the published models."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(initial_alphabet=alphabet, show_progress=False)
    trained.train_from_iterator([" ".join(["", *DIGITS])] * 2, trainer)
    bpe = json.loads(trained.to_str())["model"]
    vocabulary: dict[str, int] = bpe["vocab"]
    if shape.multilingual:
        vocabulary[""] = len(vocabulary)  # by which CTranslate2 knows it
    for number in range(len(vocabulary), shape.text_ids):
        vocabulary[f"unused {number}"] = number
    merges = [tuple(merge) for merge in bpe["merges"]]
    # transformers' annotation knows only the path of a merges file, its code takes the merges themselves as well
    tokenizer = WhisperTokenizer(vocab=vocabulary, merges=merges)
    special = ["<|endoftext|>", "<|startoftranscript|>", *(f"<|{code}|>" for code in _languages()), *MARKS]
    tokenizer.add_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    times = [f"<|{step / FRAMES_A_SECOND:.2f}|>" for step in range(shape.seconds * FRAMES_A_SECOND + 1)]
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in times])
    return tokenizer


def _languages() -> list[str]:
    return list(LANGUAGES)[:99]  # large-v3 has a hundredth, Cantonese


def build_model(processor: WhisperProcessor, shape: Shape, *, seed: int = 0, tied: bool = True) -> Model:
    """An untrained model in fp32, the same for the same seed; the global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = WhisperForConditionalGeneration(_config(processor.tokenizer, shape, tied=tied))
        _initialize(model)
    model.generation_config = _generation(processor.tokenizer, shape)
    return model.eval()


def _config(tokenizer: WhisperTokenizer, shape: Shape, *, tied: bool) -> WhisperConfig:
    start, end = tokenizer.convert_tokens_to_ids(["<|startoftranscript|>", "<|endoftext|>"])
    return WhisperConfig(
        vocab_size=len(tokenizer),
        tie_word_embeddings=tied,
        num_mel_bins=shape.mels,
        d_model=shape.hidden,
        encoder_layers=shape.layers,
        decoder_layers=shape.layers,
        encoder_attention_heads=shape.heads,
        decoder_attention_heads=shape.heads,
        encoder_ffn_dim=4 * shape.hidden,
        decoder_ffn_dim=4 * shape.hidden,
        max_source_positions=shape.seconds * FRAMES_A_SECOND,
        max_target_positions=448,
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        decoder_start_token_id=start,
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )


def _generation(tokenizer: WhisperTokenizer, shape: Shape) -> GenerationConfig:
    def ident(token: str) -> int:
        return int(tokenizer.convert_tokens_to_ids(token))

    end = ident("<|endoftext|>")
    return GenerationConfig(
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        decoder_start_token_id=ident("<|startoftranscript|>"),
        max_length=448,
        is_multilingual=shape.multilingual,
        lang_to_id={f"<|{code}|>": ident(f"<|{code}|>") for code in _languages()},
        task_to_id={task: ident(f"<|{task}|>") for task in ("transcribe", "translate")},
        no_timestamps_token_id=ident("<|notimestamps|>"),
        prev_sot_token_id=ident("<|startofprev|>"),
        suppress_tokens=[ident(mark) for mark in MARKS[:-1]],
        begin_suppress_tokens=[ident("Ġ"), end],
        alignment_heads=[[shape.layers - 1, 0]],
        return_timestamps=False,
    )


def _initialize(model: nn.Module) -> None:
    """Weights of deviation 1/sqrt(fan-in), biases zero: the signal keeps its size through every layer."""
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv1d):
            nn.init.normal_(module.weight, std=1 / math.sqrt(module.weight[0].numel()))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
