"""The real recognizer on real audio: what it hears, what it does not, and how it stops."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import av
import jiwer
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.wer import normalize
from core.errors import ModelUnavailableError
from core.settings import Settings
from core.types import Ended, RawTranscript
from models import registry
from models.base import SAMPLE_RATE, Audio, TranscribeRequest
from tests.conftest import SAMPLES, missing

try:
    from models import pocketsphinx as engine
except ImportError:
    missing_engine = True
else:
    missing_engine = False

pytestmark = pytest.mark.skipif(missing_engine, reason="pocketsphinx is not installed")
