"""Whisper on a CPU: transformers, which dropscribe uses, beside CTranslate2, on which faster-whisper is built.

Run as `python -m bench.whisper [--size base] [--threads 2]`. The models have a published shape and random weights, and
every answer as many tokens as it is told, since random weights know no end; the features are computed beforehand.
Seconds are those of the CPU, and the ways take turns, window by window, so that what else the machine does hardly
counts. CTranslate2 is measured where it is installed (`pip install ctranslate2`).
"""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import WhisperForConditionalGeneration, WhisperProcessor

from bench.table import Row, print_rates
from tests.tiny.whisper import PUBLISHED_BASE, PUBLISHED_SMALL, PUBLISHED_TINY, random_whisper

SIZES = {"tiny": PUBLISHED_TINY, "base": PUBLISHED_BASE, "small": PUBLISHED_SMALL}
RATE = 16_000  # Hz
WINDOW = 30  # s
TOKENS = 110  # of an answer: 80 words, as people say in half a minute

Read = Callable[[], None]  # one window


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    options = _parse(argv)
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory(prefix="dropscribe-whisper-") as folder:
        source = random_whisper(Path(folder) / "source", SIZES[options.size])
        ways = _transformers(source) | _ctranslate2(source, Path(folder) / "converted", options.threads)
    seconds = dict.fromkeys(ways, 0.0)
    for turn in range(options.windows + 1):
        for name, read in ways.items():
            began = time.process_time()
            read()
            if turn:  # the first warms up
                seconds[name] += time.process_time() - began
    print(f"whisper-{options.size}, {TOKENS} tokens a window of {WINDOW} s, {options.threads} threads")
    print_rates("seconds of audio", [Row(name, options.windows * WINDOW, spent) for name, spent in seconds.items()])
    return 0


def _transformers(source: Path) -> dict[str, Read]:
    features = _features(source)
    return {f"transformers {name}": _generate(source, dtype, features) for name, dtype in DTYPES.items()}


DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def _features(source: Path) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 0.05, WINDOW * RATE).astype(np.float32)
    extract = WhisperProcessor.from_pretrained(source).feature_extractor
    return np.asarray(extract(noise, sampling_rate=RATE, return_tensors="np").input_features)


def _generate(source: Path, dtype: torch.dtype, features: np.ndarray) -> Read:
    reader: Any = WhisperForConditionalGeneration
    model = reader.from_pretrained(source, dtype=dtype)
    given = torch.from_numpy(features).to(dtype)

    def read() -> None:
        with torch.inference_mode():
            model.generate(given, language="en", return_timestamps=True, max_new_tokens=TOKENS, min_new_tokens=TOKENS)

    return read


def _ctranslate2(source: Path, target: Path, threads: int) -> dict[str, Read]:
    if not importlib.util.find_spec("ctranslate2"):
        print("CTranslate2 is not installed, so it is not measured")
        return {}
    import ctranslate2

    ctranslate2.converters.TransformersConverter(str(source)).convert(str(target))
    tokenizer = WhisperProcessor.from_pretrained(source).tokenizer
    prompt = tokenizer.convert_tokens_to_ids(["<|startoftranscript|>", "<|en|>", "<|transcribe|>"])
    features = ctranslate2.StorageView.from_array(np.ascontiguousarray(_features(source)))

    def way(kind: str) -> Read:
        model = ctranslate2.models.Whisper(str(target), compute_type=kind, intra_threads=threads)

        def read() -> None:
            never = [tokenizer.eos_token_id]
            [answer] = model.generate(features, [prompt], beam_size=1, max_length=2 * TOKENS, suppress_tokens=never)
            if len(answer.sequences_ids[0]) < TOKENS:
                raise RuntimeError(f"{len(answer.sequences_ids[0])} tokens instead of {TOKENS}")

        return read

    return {f"CTranslate2 {kind}": way(kind) for kind in ("float32", "int8")}


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.whisper", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--size", choices=list(SIZES), default="base")
    parser.add_argument("--windows", type=int, default=5, help="how many each reads")
    parser.add_argument("--threads", type=int, default=2, help="threads of each")
    return parser.parse_args(argv)


if __name__ == "__main__":
    raise SystemExit(main())
