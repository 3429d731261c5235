"""The layout in which Microsoft publishes VibeVoice-ASR, in terms of transformers': names of tensors, config, prompt.

Pure, no torch. https://github.com/microsoft/VibeVoice has the model; `convert_vibevoice_asr_to_hf.py` in transformers
tells which of its tensors are which.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from itertools import starmap
from typing import Any

from dropscribe.core.errors import ModelUnavailableError
from dropscribe.models.vibevoice.prompt import KEYS, SYSTEM

MODEL_TYPE = "vibevoice"  # in a config.json; of its models of speech synthesis too
SYNTHESIS = "model.prediction_head."  # begins tensors that only those have
LANGUAGE_MODEL = "Qwen/Qwen2.5-7B"  # whose tokenizer it takes, unless its preprocessor_config.json names another
FIXED = 0.8  # `fix_std` is the deviation of the latents; transformers has that of its scale, as a part of this

_ENCODER = r"model\.(acoustic|semantic)_tokenizer\.encoder\."


def _level(number: str) -> str:
    """The first stage is the stem, the others count from 0."""
    return f"conv_layers.{int(number) - 1}" if int(number) else "stem"


def _down(kind: str, number: str, leaf: str) -> str:
    """The name of a layer that shortens the sound."""
    return f"{kind}_tokenizer_encoder.{_level(number)}.conv.conv.{leaf}"


def _stage(kind: str, number: str, rest: str) -> str:
    """The name of a layer between those."""
    return f"{kind}_tokenizer_encoder.{_level(number)}.stage.{re.sub(r'mixer(?:[.]conv)+', 'mixer.conv', rest)}"


_RULES: Mapping[str, Callable[..., str]] = {
    r"lm_head\.(.+)": "language_model.lm_head.{}".format,
    r"model\.language_model\.(.+)": "language_model.model.{}".format,
    rf"{_ENCODER}downsample_layers\.(\d+)\.0(?:\.conv)+\.(\w+)": _down,
    rf"{_ENCODER}stages\.(\d+)\.(.+)": _stage,
    rf"{_ENCODER}head(?:\.conv)+\.(\w+)": "{}_tokenizer_encoder.head.conv.{}".format,
    r"model\.(acoustic|semantic)_connector\.fc(\d)\.(\w+)": "multi_modal_projector.{}_linear_{}.{}".format,
    r"model\.(acoustic|semantic)_connector\.norm\.(\w+)": "multi_modal_projector.{}_norm.{}".format,
}


def renamed(tensor: str) -> str:
    """What a published checkpoint in transformers' layout calls a tensor; empty for what recognition does not need."""

    def by(pattern: str, name: Callable[..., str]) -> str:
        """The name by a pattern; empty where the tensor does not fit it."""
        found = re.fullmatch(pattern, tensor)
        return name(*found.groups()) if found else ""

    return next(filter(None, starmap(by, _RULES.items())), "")


# Settings of an encoder, and what transformers calls them.
_SAME = {
    "channels": "channels",
    "vae_dim": "hidden_size",
    "encoder_n_filters": "num_filters",
    "layernorm_eps": "rms_norm_eps",
    "layer_scale_init_value": "layer_scale_init_value",
}


def config(original: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The config.json of the checkpoint `name` in transformers' layout, except the ids of tokens.

    Raises ModelUnavailableError where it is not that of such a model.
    """
    try:
        acoustic = original["acoustic_tokenizer_config"]
        return {
            "model_type": "vibevoice_asr",
            "architectures": ["VibeVoiceAsrForConditionalGeneration"],
            "acoustic_tokenizer_encoder_config": _encoder(acoustic) | _noise(acoustic),
            "semantic_tokenizer_encoder_config": _encoder(original["semantic_tokenizer_config"]),
            "text_config": {**original["decoder_config"], "model_type": "qwen2"},
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelUnavailableError(
            f"the config of {name} is not that of VibeVoice-ASR ({type(error).__name__}: {error})",
            remedy="fetch it again",
        ) from error


def _encoder(original: Mapping[str, Any]) -> dict[str, Any]:
    """Ratios are those of upsampling there, from the last stage to the first."""
    depths = original["encoder_depths"]
    return {ours: original[theirs] for theirs, ours in _SAME.items() if theirs in original} | {
        "model_type": "vibevoice_acoustic_tokenizer_encoder",
        "depths": [*map(int, depths.split("-") if isinstance(depths, str) else depths)],
        "downsampling_ratios": [*reversed(original["encoder_ratios"])],
    }


def _noise(original: Mapping[str, Any]) -> dict[str, float]:
    """The noise of the encoder, where the config has it."""
    return {"vae_std": original["fix_std"] / FIXED} if "fix_std" in original else {}


# As the model was trained, which writes `<|im_start|>assistant` itself.
CHAT_TEMPLATE = (
    f"{{{{ '<|im_start|>system\n{SYSTEM}<|im_end|>\n' }}}}"
    "{%- for message in messages if message['role'] == 'user' -%}"
    "{%- set words = message['content'] | selectattr('type', 'equalto', 'text') | list -%}"
    "{{ '<|im_start|>user\n' }}"
    "{%- for part in message['content'] if part['type'] == 'audio' -%}"
    "{{ '<|object_ref_start|><|box_start|><|object_ref_end|>\nThis is a <|AUDIO_DURATION|> seconds audio, ' }}"
    "{%- if words -%}{{ 'with extra info: ' + words[0]['text'] + '\n\nPlease' }}{%- else -%}{{ 'please' }}{%- endif -%}"
    f"{{{{ ' transcribe it with these keys: {KEYS}' }}}}"
    "{%- endfor -%}"
    "{{ '<|im_end|>\n' }}"
    "{%- endfor -%}"
)
PAD = "<|image_pad|>"  # what stands for no token
EOS = "<|endoftext|>"
