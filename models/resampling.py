"""Audio at the rate that a model listens to, by FFmpeg's resampler."""

from __future__ import annotations

import av
import numpy as np

from dropscribe.core.audio import SAMPLE_RATE
from dropscribe.models.base import Audio


def resample(audio: Audio, rate: int) -> Audio:
    """Float samples at 24 kHz as float samples at `rate`, shape (samples,)."""
    if not audio.size:
        return np.zeros(0, np.float32)
    frame = av.AudioFrame.from_ndarray(audio[np.newaxis].astype(np.float32), format="flt", layout="mono")
    frame.sample_rate = SAMPLE_RATE
    resampler = av.AudioResampler("flt", "mono", rate)
    parts = [part.to_ndarray()[0] for fed in (frame, None) for part in resampler.resample(fed)]
    return np.concatenate([np.zeros(0, np.float32), *parts])  # a sample or two give no part at all
