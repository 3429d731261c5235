"""Parts of a model that stay in the machine's memory on small cards: put there when loaded, and checked by name."""

from __future__ import annotations

from typing import Any

import torch
from accelerate.hooks import remove_hook_from_submodules

from dropscribe.core.errors import ModelUnavailableError
from dropscribe.models.vibevoice.memory_plan import Saving

HOST = torch.device("cpu")
MODULES = {
    Saving.EMBEDDINGS: ("model.language_model.embed_tokens",),
    Saving.ENCODERS: ("model.acoustic_tokenizer_encoder", "model.semantic_tokenizer_encoder"),
}
PARTS = (  # which make up the model
    "model.acoustic_tokenizer_encoder",
    "model.semantic_tokenizer_encoder",
    "model.multi_modal_projector",
    "model.language_model.embed_tokens",
    "model.language_model.layers",
    "model.language_model.norm",
    "model.language_model.rotary_emb",
    "lm_head",
)
SHOWN = 6  # names, in an error


def modules(saving: Saving) -> tuple[str, ...]:
    """Full names of what stays in the machine's memory."""
    return tuple(name for one, names in MODULES.items() if one <= saving for name in names)


def device_map(saving: Saving, device: torch.device) -> dict[str, torch.device]:
    """For `from_pretrained`: all on the device but these.

    A device by its object is where weights lie; by the name "cpu", it would be where accelerate fetches them from. It
    moves all that has one name to one device, so that with two of them each part has a name.
    """
    if not saving:
        return {"": device}
    return dict.fromkeys(PARTS, device) | dict.fromkeys(modules(saving), HOST)


def settle(model: Any, saving: Saving, device: torch.device) -> None:
    """Take off what moves tensors between devices unasked, and check where each weight lies.

    Raises ModelUnavailableError, name by name, unless exactly the weights of these modules lie in the machine's memory.
    """
    remove_hook_from_submodules(model)
    prefixes = tuple(f"{name}." for name in modules(saving))
    wrong = [
        f"{name} on {weight.device}"
        for name, weight in model.named_parameters()
        if weight.device != (HOST if name.startswith(prefixes) else device)
    ]
    if wrong:
        raise ModelUnavailableError(
            f"{len(wrong)} weights do not lie where they should: {', '.join(wrong[:SHOWN])}",
            remedy="please report this as a bug",
        )
