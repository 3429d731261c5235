"""Audio at the rate that a model listens to, by FFmpeg's resampler."""

from __future__ import annotations

from typing import Any, Literal

import av
import numpy as np
from numpy.typing import NDArray

from dropscribe.models.base import SAMPLE_RATE, Audio

DTYPES: dict[str, Any] = {"flt": np.float32, "s16": np.int16}


def resample(audio: Audio, rate: int, form: Literal["flt", "s16"] = "flt") -> NDArray[Any]:
    """Float samples at 24 kHz as samples at `rate`, shape (samples,): floats, or 16-bit integers."""
    dtype = DTYPES[form]
    if not audio.size:
        return np.zeros(0, dtype)
    frame = av.AudioFrame.from_ndarray(audio[np.newaxis].astype(np.float32), format="flt", layout="mono")
    frame.sample_rate = SAMPLE_RATE
    resampler = av.AudioResampler(form, "mono", rate)
    parts = [part.to_ndarray()[0] for fed in (frame, None) for part in resampler.resample(fed)]
    return np.concatenate([np.zeros(0, dtype), *parts])  # a sample or two give no part at all
