"""The tiny checkpoint as Microsoft lays its own out: other names, another config, a decoder besides, no processor."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

TINY = Path(__file__).parents[1] / "tiny" / "checkpoint"
NAMES = (  # by hand, from the modules of Microsoft's code
    (r"language_model\.lm_head\.", "lm_head."),
    (r"language_model\.model\.", "model.language_model."),
    (r"(acoustic|semantic)_tokenizer_encoder\.", r"model.\1_tokenizer.encoder."),
    (r"encoder\.stem\.conv\.conv\.", "encoder.downsample_layers.0.0.conv.conv."),
    (r"encoder\.stem\.stage\.", "encoder.stages.0."),
    (r"encoder\.head\.conv\.", "encoder.head.conv.conv."),
    (r"\.mixer\.conv\.", ".mixer.conv.conv.conv."),
    (r"multi_modal_projector\.(acoustic|semantic)_linear_", r"model.\1_connector.fc"),
    (r"multi_modal_projector\.(acoustic|semantic)_norm\.", r"model.\1_connector.norm."),
)


def original_name(name: str) -> str:
    """What Microsoft calls a tensor."""
    for pattern, original in NAMES:
        name = re.sub(pattern, original, name)
    name = re.sub(r"conv_layers\.(\d+)\.conv\.", lambda found: f"downsample_layers.{int(found[1]) + 1}.0.conv.", name)
    return re.sub(r"conv_layers\.(\d+)\.stage\.", lambda found: f"stages.{int(found[1]) + 1}.", name)


def write_original(folder: Path) -> Path:
    """Write it into a new folder, in two files with an index, with the tokenizer alone beside them."""
    folder.mkdir()
    tensors = {original_name(name): tensor for name, tensor in load_file(TINY / "model.safetensors").items()}
    tensors["model.acoustic_tokenizer.decoder.head.conv.conv.weight"] = torch.ones(3, dtype=torch.bfloat16)
    names = sorted(tensors)
    parts = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, held in parts.items():
        save_file({name: tensors[name] for name in held}, folder / file, metadata={"format": "pt"})
    weights = {name: file for file, held in parts.items() for name in held}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weights}))
    (folder / "config.json").write_text(json.dumps(_config(json.loads((TINY / "config.json").read_text()))))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(TINY / name, folder)
    return folder


def _config(ours: dict[str, object]) -> dict[str, object]:
    acoustic, semantic = (ours[f"{kind}_tokenizer_encoder_config"] for kind in ("acoustic", "semantic"))
    return {
        "model_type": "vibevoice",
        "architectures": ["VibeVoiceForASRTraining"],
        "acoustic_tokenizer_config": _encoder(acoustic) | {"fix_std": 0.5, "std_dist_type": "gaussian"},
        "semantic_tokenizer_config": _encoder(semantic) | {"fix_std": 0, "std_dist_type": "none"},
        "decoder_config": ours["text_config"],
        "torch_dtype": "bfloat16",
    }


def _encoder(ours: object) -> dict[str, object]:
    assert isinstance(ours, dict)
    return {
        "model_type": "vibevoice_acoustic_tokenizer",
        "channels": ours["channels"],
        "vae_dim": ours["hidden_size"],
        "encoder_n_filters": ours["num_filters"],
        "encoder_ratios": ours["downsampling_ratios"][::-1],
        "encoder_depths": "-".join(map(str, ours["depths"])),
        "layernorm_eps": ours["rms_norm_eps"],
        "layer_scale_init_value": ours["layer_scale_init_value"],
        "mixer_layer": "depthwise_conv",
        "causal": True,
        "decoder_depths": None,
    }
