"""Build a tiny checkpoint of the architecture and file layout of microsoft/VibeVoice-ASR-HF, without the network."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from torch import nn
from transformers import (
    AddedToken,
    Qwen2Config,
    Qwen2Tokenizer,
    VibeVoiceAcousticTokenizerEncoderConfig,
    VibeVoiceAcousticTokenizerFeatureExtractor,
    VibeVoiceAsrConfig,
    VibeVoiceAsrForConditionalGeneration,
    VibeVoiceAsrProcessor,
)
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

from tests.tiny.phrases import DIGITS, WORDS

Model = Any  # VibeVoiceAsrForConditionalGeneration, whose annotations are stricter than its code
FEW_LAYERS, LAYERS = 4, 6  # of the language model: at random and for short recordings, and for long ones (growth.py)
VOCABULARY = 768  # ids at most; training stops earlier, when every word is one token
SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|image_pad|>",
)
# The published ratios are 2, 2, 4, 5, 5, 8. With so few channels, that order holds a convolution of 16 channels, kernel
# 8 and stride 4, for which torch 2.13 (oneDNN on AMX) returns nonsense in bf16 on a CPU; the product is the same 3200.
RATIOS = [2, 2, 5, 4, 5, 8]
SYSTEM_PROMPT = "You are a helpful assistant that transcribes audio input into text output in JSON format."
KEYS = "Start time, End time, Speaker ID, Content"

# No generation prompt: the published model writes `<|im_start|>assistant` itself, and so does this one.
CHAT_TEMPLATE = (
    "{{ '<|im_start|>system\n" + SYSTEM_PROMPT + "<|im_end|>\n' }}"
    "{%- for message in messages if message['role'] == 'user' -%}"
    "{%- set said = message['content'] | selectattr('type', 'equalto', 'text') | list -%}"
    "{{ '<|im_start|>user\n' }}"
    "{%- for item in message['content'] if item['type'] == 'audio' -%}"
    "{{ '<|object_ref_start|><|box_start|><|object_ref_end|>\nThis is a <|AUDIO_DURATION|> seconds audio, ' }}"
    "{%- if said -%}{{ 'with extra info: ' + said[0]['text'] + '\n\nPlease' }}{%- else -%}{{ 'please' }}{%- endif -%}"
    "{{ ' transcribe it with these keys: " + KEYS + "' }}"
    "{%- endfor -%}"
    "{{ '<|im_end|>\n' }}"
    "{%- endfor -%}"
)


def _corpus() -> list[str]:
    """Text in which every word of prompt and answer is frequent enough to become one token."""
    prompt = f"{SYSTEM_PROMPT}\nsystem\nuser\nassistant\nThis is a 1.23 seconds audio, please transcribe it with these "
    prompt += f"keys: {KEYS} with extra info: \n\nPlease transcribe it"
    answers = [
        json.dumps([{"Start": 0.0, "End": 1.5, "Speaker": 0, "Content": f"{first} {second}"}], separators=(",", ":"))
        for first, second in itertools.product(DIGITS + WORDS, repeat=2)
    ]
    joined = [f'[{{"Start":0.5}},{{"Start":1.5}}]\n{answer}' for answer in answers]
    return [prompt] * 500 + joined


def build_tokenizer() -> Qwen2Tokenizer:
    """A byte-level BPE as Qwen2's, trained on prompt and answers, with the special tokens that the processor needs."""
    trained = Tokenizer(models.BPE())
    trained.normalizer = normalizers.NFC()
    trained.decoder = decoders.ByteLevel()
    split = pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), behavior="isolated")
    trained.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    trained.train_from_iterator(_corpus(), trainer)
    bpe = json.loads(trained.to_str())["model"]
    merges = [tuple(merge) for merge in bpe["merges"]]
    # transformers' annotation knows only the path of a merges file, its code takes the merges themselves as well
    tokenizer = Qwen2Tokenizer(vocab=bpe["vocab"], merges=merges, model_max_length=32_768)  # type: ignore[arg-type]
    tokenizer.add_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
    return tokenizer


def build_processor() -> VibeVoiceAsrProcessor:
    return VibeVoiceAsrProcessor(
        feature_extractor=VibeVoiceAcousticTokenizerFeatureExtractor(),
        tokenizer=build_tokenizer(),
        chat_template=CHAT_TEMPLATE,
    )


def build_config(processor: VibeVoiceAsrProcessor, layers: int) -> VibeVoiceAsrConfig:
    """Layer scale 0.5, as the default of 1e-6 learns nothing in so few steps; every linear of the language model has
    a multiple of 64 inputs, which bitsandbytes' 4-bit packing needs."""
    acoustic = VibeVoiceAcousticTokenizerEncoderConfig(
        num_filters=4,
        downsampling_ratios=RATIOS,
        depths=[0, 0, 0, 0, 0, 3, 1],
        hidden_size=64,
        layer_scale_init_value=0.5,
    )
    semantic = VibeVoiceAcousticTokenizerEncoderConfig(
        num_filters=2, depths=[0, 0, 0, 0, 0, 2, 1], hidden_size=64, layer_scale_init_value=0.5
    )
    text = Qwen2Config(
        vocab_size=len(processor.tokenizer),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=32_768,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=processor.tokenizer.eos_token_id,
    )
    return VibeVoiceAsrConfig(
        acoustic_tokenizer_encoder_config=acoustic,
        semantic_tokenizer_encoder_config=semantic,
        text_config=text,
        audio_token_id=processor.audio_token_id,
        audio_bos_token_id=processor.audio_bos_token_id,
        audio_eos_token_id=processor.audio_eos_token_id,
    )


def _initialize(model: nn.Module) -> None:
    """Weights of deviation 1/sqrt(fan-in), biases zero: the signal keeps its size through every layer."""
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv1d):
            nn.init.normal_(module.weight, std=1 / math.sqrt(module.weight[0].numel()))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.3)


def build_model(processor: VibeVoiceAsrProcessor, *, layers: int = LAYERS, seed: int = 0) -> Model:
    """An untrained model in fp32, the same for the same seed; the global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = VibeVoiceAsrForConditionalGeneration(build_config(processor, layers))
        _initialize(model)
    generation = model.generation_config
    generation.pad_token_id = processor.tokenizer.convert_tokens_to_ids("<|image_pad|>")
    generation.eos_token_id = processor.tokenizer.eos_token_id
    generation.do_sample = False
    generation.max_new_tokens = 32_768
    return model.eval()


def save_checkpoint(model: Model, folder: Path) -> Path:
    """Write model and processor files as transformers lays them out; weights in the dtype that the model has."""
    model.save_pretrained(folder)
    build_processor().save_pretrained(folder)
    return folder


def random_checkpoint(folder: Path, *, seed: int = 0) -> Path:
    """Write an untrained checkpoint (about 3 M parameters, bf16, 6 MB) into `folder` and return it."""
    return save_checkpoint(build_model(build_processor(), layers=FEW_LAYERS, seed=seed).to(torch.bfloat16), folder)
