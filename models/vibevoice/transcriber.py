"""VibeVoice-ASR resident in memory: audio in, who said what and when out, from many threads at once."""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from dropscribe.core import machine_memory
from dropscribe.core.errors import ModelDoesNotFitError, ModelError, ModelUnavailableError
from dropscribe.core.settings import Settings
from dropscribe.core.types import EngineInfo
from dropscribe.models import engine_errors
from dropscribe.models.base import Audio
from dropscribe.models.checkpoints import hub_cache
from dropscribe.models.gpu import compatibility, cuda_support, lock
from dropscribe.models.gpu.allowance import allowance
from dropscribe.models.gpu.placement import ANYWHERE, Placement
from dropscribe.models.vibevoice import loader, memory_plan, quantize
from dropscribe.models.vibevoice.base import Numbers, VibeVoiceBase
from dropscribe.models.vibevoice.dimensions import ModelDimensions
from dropscribe.models.vibevoice.encoder import Encoder
from dropscribe.models.vibevoice.engine import Engine, Reference
from dropscribe.models.vibevoice.generation import Decoding, Generation, TokenListener
from dropscribe.models.vibevoice.loader import Loaded
from dropscribe.models.vibevoice.memory_plan import MemoryPlan, Precision, Saving
from dropscribe.models.vibevoice.parts import ModelPart
from dropscribe.models.vibevoice.prompt import Wording
from dropscribe.models.vibevoice.runner.runner import Runner
from dropscribe.models.vibevoice.runner.scheduler import Sizes
from dropscribe.models.vibevoice.settings import VibeVoiceSettings

log = logging.getLogger(__name__)


class VibeVoice(VibeVoiceBase):
    """A Transcriber by PyTorch; safe for as many threads as `info.slots`."""

    def __init__(self, loaded: Loaded, plan: MemoryPlan, settings: Settings) -> None:
        """Serve a loaded model within its plan. Raises ModelUnavailableError when it does not fit after all."""
        self.loaded = loaded
        self.plan = plan
        self._device: torch.device = loaded.model.lm_head.weight.device
        name = f"{loaded.source}@{loaded.revision}" if loaded.revision else loaded.source
        info = EngineInfo(
            engine="vibevoice",
            model=name,
            precision=loaded.precision,
            slots=plan.slots,
            longest_chunk=plan.chunk_seconds,
            quantized=",".join(loaded.quantized),
            attention=loaded.attention,
            attention_reason=loaded.attention_reason,
            load_seconds=round(loaded.seconds, 1),
            memory_held=loaded.memory_held,
            memory_free=loaded.memory_free,
        )
        self._encoder = Encoder(loaded.model, plan.piece_seconds, plan.encoder_rows)
        super().__init__(
            info,
            loaded.processor.tokenizer.backend_tokenizer,
            Wording.of(loaded.processor),
            hop=self._encoder.hop,
            most_audio=plan.audio_tokens,
            most_tokens=settings.max_new_tokens,
        )
        self._engine = _serve(loaded, plan, settings)

    @classmethod
    def load(cls, settings: Settings, placement: Placement = ANYWHERE) -> VibeVoice:
        """Plan, load, check and warm up. Raises ModelUnavailableError with the reason or the numbers.

        From measuring the free memory until all that is planned is taken, no other worker does the same on this GPU.
        """
        device = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
        with _turn(device, settings, placement):
            return cls._load(settings, device, placement.workers)

    @classmethod
    def _load(cls, settings: Settings, device: torch.device, workers: int) -> VibeVoice:
        plan, own = make_plan(settings, device, workers), settings.of(VibeVoiceSettings)
        _require_binary(plan.precision, device)
        loaded = loader.load(
            settings.model,
            _precision(settings, plan),
            device=device,
            revision=settings.revision,
            attention=own.attention,
            parts=own.quantize,
            saving=plan.saving,
        )
        log.info("planned: %s", plan.explain())
        model = cls(loaded, plan, settings)
        try:
            model.warm_up()
        except ModelError:
            model.close()  # its thread would keep the process from ending
            raise
        gc.freeze()  # what is here stays: without looking through it, no collection stops the threads for long
        return model

    def encode(self, audio: Audio, cancel: threading.Event) -> Tensor:
        """See `VibeVoiceBase`."""
        return self._encoder.encode(audio, cancel)

    @torch.no_grad()
    def embed(self, words: Sequence[int], audio: Tensor) -> Tensor:
        """See `VibeVoiceBase`: (tokens, hidden), on the device."""
        with engine_errors.translated():
            before, after = map(self._embed_words, self._wording.around(words))
            return torch.cat([before, audio, after])

    def proceed(self, prompt: Tensor, budget: int, listen: TokenListener, cancel: threading.Event) -> Generation:
        """See `VibeVoiceBase`."""
        with engine_errors.translated():  # this thread waits for the device until the prompt is there
            return self._engine.generate(prompt, budget, listen, cancel)

    def features(self, audio: Audio) -> Numbers:
        """See `VibeVoiceBase`."""
        found: Numbers = self.encode(audio, threading.Event()).float().cpu().numpy()
        return found

    @torch.no_grad()
    def score(self, words: Sequence[int], features: Numbers, answer: Sequence[int]) -> Numbers:
        """See `VibeVoiceBase`."""
        model = self.loaded.model
        prompt = self.embed(words, torch.from_numpy(features).to(self._device, model.dtype))
        embeddings = torch.cat([prompt, self._embed_words(answer[:-1])])[None]
        mask = torch.ones(embeddings.shape[:2], dtype=torch.long, device=self._device)
        logits = model(inputs_embeds=embeddings, attention_mask=mask, logits_to_keep=len(answer)).logits
        found: Numbers = logits[0].float().cpu().numpy()
        return found

    def _embed_words(self, words: Sequence[int]) -> Tensor:
        table = self.loaded.model.get_input_embeddings()  # in the machine's memory on small cards
        found: Tensor = table(torch.tensor(words, dtype=torch.long, device=table.weight.device))
        return found.to(self._device)

    def close(self) -> None:
        """Stop serving and give the memory back."""
        self._engine.close()
        self.loaded = replace(self.loaded, model=None)
        del self._engine, self._encoder
        gc.unfreeze()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _turn(device: torch.device, settings: Settings, placement: Placement) -> AbstractContextManager[None]:
    """Wait for the workers that are about to take memory there, and let others wait."""
    gpu = f"GPU-{torch.cuda.get_device_properties(device).uuid}" if device.type == "cuda" else ""
    return lock.turn(placement, settings.home, gpu)


def _require_binary(precision: Precision, device: torch.device) -> None:
    """Raise ModelUnavailableError where bitsandbytes is to quantize for a CUDA that it has no binary for."""
    if device.type != "cuda" or precision not in {Precision.INT8, Precision.NF4}:
        return
    if lacking := compatibility.lacking_binary(torch.version.cuda or "", cuda_support.bitsandbytes_binaries()):
        raise ModelDoesNotFitError(
            lacking, remedy="pip install --upgrade bitsandbytes, or set DROPSCRIBE_PRECISION=bf16 if the card holds it"
        )


def _serve(loaded: Loaded, plan: MemoryPlan, settings: Settings) -> Engine:
    decoding = _decoding(loaded, settings)
    if not settings.of(VibeVoiceSettings).batching:
        return Reference(loaded.model, decoding)
    return Runner(loaded.model, decoding, runner_sizes(plan), loaded.attention)


def runner_sizes(plan: MemoryPlan) -> Sizes:
    """What a plan gives the language model; it captures graphs only where they are planned."""
    return Sizes(
        plan.slots,
        plan.slot_tokens,
        plan.prefill_tokens,
        graphs=plan.parts["graphs"] > 0,
        fp8_cache=plan.saving >= Saving.FP8_CACHE,
    )


def _decoding(loaded: Loaded, settings: Settings) -> Decoding:
    ends = loader.ends(loaded.model.generation_config, loaded.processor.tokenizer)
    pad = loaded.model.generation_config.pad_token_id
    return Decoding(
        eos=ends,
        pad=ends[0] if pad is None else pad,
        temperature=settings.temperature,
        repetition_penalty=settings.repetition_penalty,
    )


def make_plan(settings: Settings, device: torch.device, workers: int = 0) -> MemoryPlan:
    """What to load, and how much it will serve at once; on a CPU, `workers` share the machine's memory.

    Raises ModelUnavailableError when the checkpoint cannot be read, or the card cannot hold what is asked for.
    """
    own = settings.of(VibeVoiceSettings)
    config = loader.read_config(settings.model, settings.revision)
    precisions = _precisions(settings, config, device)
    geometry = ModelDimensions.from_config(config, _parts(settings, config))
    attention = loader.attention_on(device, own.attention, loader.dtype_of(str(precisions[0]), device), geometry)
    plan = memory_plan.choose(
        _memory(device, settings.gpu_share, workers),
        geometry,
        settings.chunk_seconds or memory_plan.MAX_CHUNK,
        _slots(settings, device),
        precisions=precisions,
        batching=own.batching,
        paged=attention.is_paged,
        on_gpu=device.type == "cuda",
    )
    if not plan.fits or plan.chunk_seconds < settings.chunk_seconds:
        share = f"raise DROPSCRIBE_GPU_SHARE (now {settings.gpu_share:g}), " if settings.gpu_share < 1 else ""
        raise ModelDoesNotFitError(
            f"{settings.model} does not fit: {plan.explain()}",
            remedy=f"set DROPSCRIBE_PRECISION=auto, {share}lower "
            "DROPSCRIBE_CHUNK_SECONDS or DROPSCRIBE_MODEL_SLOTS, or see `dropscribe plan` for what fits",
        )
    return plan


def _slots(settings: Settings, device: torch.device) -> int:
    """0 lets the plan fill the card; a CPU gains nothing by reading several chunks at once."""
    if not settings.of(VibeVoiceSettings).batching:
        return 1
    return settings.model_slots or (0 if device.type == "cuda" else 1)


def _precision(settings: Settings, plan: MemoryPlan) -> str:
    """What to load: what is asked for, else what the checkpoint comes in, by whatever method, else what was planned."""
    stored = hub_cache.quantization(loader.read_config(settings.model, settings.revision))
    return stored if settings.precision == "auto" and stored else str(plan.precision)


def _parts(settings: Settings, config: dict[str, Any]) -> tuple[ModelPart, ...]:
    """The parts that are quantized: in a copy of ours those that it names, else those to quantize on load."""
    record = config.get(quantize.RECORD)
    return tuple(map(ModelPart, record["parts"])) if record else settings.of(VibeVoiceSettings).quantize


def _precisions(settings: Settings, config: dict[str, Any], device: torch.device) -> list[Precision]:
    """What may be taken, the best first: what is asked for, else what the checkpoint comes in, else what fits.

    A checkpoint quantized by others takes as much memory as one of ours with the same bits. If its bits are unknown, or
    it is unpacked on first use, it takes as much as an unquantized one.
    """
    if settings.precision != "auto":
        return [Precision(settings.precision)]
    stored = hub_cache.quantization(config)
    if stored == "fp4":
        raise ModelUnavailableError(
            f"{settings.model} is quantized to fp4", remedy="use nf4, int8 or an unquantized checkpoint"
        )
    unquantized = Precision.BF16 if loader.half(device) == torch.bfloat16 else Precision.FP16
    if stored:
        by_bits = {8: Precision.INT8, 4: Precision.NF4}
        return [by_bits.get(hub_cache.quantized_bits(config), unquantized)]
    if device.type != "cuda":
        return [Precision.FP32, Precision.BF16]
    return [unquantized, Precision.INT8, Precision.NF4]


def _memory(device: torch.device, share: float, workers: int) -> int:
    """Bytes that this process may take: its share of the card, or else of the machine, but no more than is free.

    What its own context has taken of the card already counts as free.
    """
    if device.type != "cuda":
        return machine_memory.allowance(workers)
    free, total = torch.cuda.mem_get_info(device)
    return allowance(free, total, share, has_context=True)
