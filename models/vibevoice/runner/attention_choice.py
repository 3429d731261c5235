"""Which attention function a card gets, and why. Pure, no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dropscribe.core.errors import ModelUnavailableError

Capability = tuple[int, int]

KERNEL_CAPABILITY: Capability = (8, 0)  # Ampere: the oldest card that the kernels run on, and the oldest with bf16
FLASH, VARLEN, SDPA = "flash-attn", "varlen", "sdpa"  # as logs, `workers` and transcripts name them
ATTENTIONS = {"flash": FLASH, "varlen": VARLEN, "sdpa": SDPA}  # by the setting's value
SETTING = "DROPSCRIBE_VIBEVOICE_ATTENTION"


@dataclass(frozen=True, slots=True)
class AttentionChoice:
    """One of the functions of `attention.py` by name, and the reason."""

    name: str
    reason: str

    @property
    def is_paged(self) -> bool:
        """Whether a kernel takes keys and values from their pages; otherwise they are gathered first."""
        return self.name != SDPA


def choose(
    asked: str,
    capability: Capability | None,
    *,
    in_16_bits: bool,
    flash_installed: bool,
    problem: Callable[[str], str],
) -> AttentionChoice:
    """flash-attn where it is installed and can run, else PyTorch's `varlen_attn` where that can run, else sdpa.

    `asked` is the setting's value. `capability` is the GPU's, None without one. `problem` tries a kernel by name and
    says why it must not be used. Raises ModelUnavailableError if what is asked for cannot run.
    """
    if asked == "sdpa":
        return AttentionChoice(SDPA, f"set by {SETTING}")
    hindrance = _hindrance(capability, in_16_bits=in_16_bits)
    lacking = {} if flash_installed else {FLASH: "flash-attn is not installed"}

    def why_not(name: str) -> str:
        """Why a kernel cannot be used; empty if it can."""
        return hindrance or lacking.get(name) or problem(name)

    if asked != "auto":
        return _required(asked, why_not(ATTENTIONS[asked]))
    if hindrance:
        return AttentionChoice(SDPA, hindrance)
    if not (of_flash := why_not(FLASH)):
        return AttentionChoice(FLASH, "flash-attn is installed and the card supports it")
    if of_varlen := why_not(VARLEN):
        return AttentionChoice(SDPA, f"{FLASH}: {of_flash}; {VARLEN}: {of_varlen}")
    return AttentionChoice(VARLEN, f"the card supports PyTorch's kernel and {of_flash}")


def _hindrance(capability: Capability | None, *, in_16_bits: bool) -> str:
    """Why neither kernel can run; empty where both can."""
    if capability is None:
        return "there is no GPU"
    if capability < KERNEL_CAPABILITY:
        return f"the card's compute capability is {capability[0]}.{capability[1]}, and the kernels need 8.0"
    return "" if in_16_bits else "the kernels compute in 16 bits only"


def _required(asked: str, hindrance: str) -> AttentionChoice:
    """The kernel that somebody asked for. Raises ModelUnavailableError where it cannot run."""
    if hindrance:
        raise ModelUnavailableError(f"attention cannot be {asked}: {hindrance}", remedy=f"set {SETTING}=sdpa")
    return AttentionChoice(ATTENTIONS[asked], f"set by {SETTING}")
