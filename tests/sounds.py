"""Sounds in which nobody speaks, and what lies under recordings of speech: made on the spot, the same each time."""

from collections.abc import Callable

import numpy as np

RATE = 24_000  # Hz; what the spool holds
FAINT = 0.002  # noise under sounds with pauses, as any microphone has
CHORDS = ((262, 330, 392), (220, 262, 330), (175, 220, 262), (196, 247, 294))  # Hz: C, A minor, F, G
MELODY = (523, 587, 659, 784, 659, 587, 523, 440)  # Hz


def clock(seconds: float) -> np.ndarray:
    return np.arange(round(seconds * RATE)) / RATE


def silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * RATE))


def hiss(seconds: float) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(round(seconds * RATE))


def fan(seconds: float) -> np.ndarray:
    """A rumble, the tones of its motor and its blades, and some hiss."""
    rumble = np.cumsum(hiss(seconds))
    rumble -= np.convolve(rumble, np.full(RATE // 10, 10 / RATE), "same")
    time = clock(seconds)
    tones = 0.3 * np.sin(2 * np.pi * 55 * time) + 0.5 * np.sin(2 * np.pi * 110 * time)
    return rumble / rumble.std() + tones + 0.1 * hiss(seconds)


def clicks(seconds: float) -> np.ndarray:
    """Two a second, each over after a few milliseconds."""
    made, draw = FAINT * hiss(seconds), np.random.default_rng(1)
    for at in draw.integers(0, made.size - 200, round(2 * seconds)):
        made[at : at + 200] += np.exp(-np.arange(200) / 30) * draw.standard_normal(200)
    return made


def music(seconds: float) -> np.ndarray:
    """Plucked chords, two a second."""
    made = silence(seconds)
    for beat in range(round(2 * seconds)):
        for pitch in CHORDS[beat // 4 % len(CHORDS)]:
            _pluck(made, beat / 2, 0.75, [(pitch * n, n**-1.5) for n in range(1, 6)], decay=3)
    return made


def hold_music(seconds: float) -> np.ndarray:
    """A melody over a bass, with the noise of a line."""
    made = FAINT * 10 * hiss(seconds)
    for beat in range(round(4 * seconds)):
        pitch = MELODY[beat % len(MELODY)]
        _pluck(made, beat / 4, 0.3, [(pitch / 2, 0.6), (pitch, 1), (2 * pitch, 0.5), (3 * pitch, 0.25)], decay=2)
    return made


def _pluck(made: np.ndarray, start: float, seconds: float, partials: list[tuple[float, float]], decay: float) -> None:
    first = round(start * RATE)
    time = clock(seconds)[: made.size - first]
    envelope = np.minimum(time / 0.01, 1) * np.exp(-decay * time)
    made[first : first + time.size] += envelope * sum(a * np.sin(2 * np.pi * pitch * time) for pitch, a in partials)


def ringing(seconds: float) -> np.ndarray:
    """The tone that a caller hears: a second of two pitches, four of nothing."""
    time = clock(seconds)
    tone = np.sin(2 * np.pi * 440 * time) + np.sin(2 * np.pi * 480 * time)
    return tone * (time % 5 < 1) + FAINT * hiss(seconds)


KINDS: dict[str, Callable[[float], np.ndarray]] = {
    "silence": silence,
    "hiss": hiss,
    "fan": fan,
    "clicks": clicks,
    "music": music,
    "hold music": hold_music,
    "ringing": ringing,
}


def _hum(mains: int) -> Callable[[int], np.ndarray]:
    return lambda samples: np.sqrt(2) * np.sin(2 * np.pi * mains * np.arange(samples) / RATE)


# Of that many samples and an RMS of 1.
NUISANCES: dict[str, Callable[[int], np.ndarray]] = {"offset": np.ones, "50 Hz": _hum(50), "60 Hz": _hum(60)}
