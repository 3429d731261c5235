"""Pure: how recorders name the files of one recording that they write in parts.

What is known of them, and from where:

- GoPro writes chapters of about 4 GB. Since HERO6 `GX010042.MP4` is followed by `GX020042.MP4` (`GH`: AVC); before,
  `GOPR0042.MP4` by `GP010042.MP4`. The last four digits number recordings, so that chapters of several interleave
  (GoPro's support page "Camera File Naming Convention", as in toddmricker.com/gopro-file-naming-convention and
  lib.rs/crates/gopro-chaptered-video-assembler).
- Zoom H5 and H6 write `ZOOM0013_LR.WAV`. Where that reaches 2 GB, its parts are `ZOOM0013_LR-0001.WAV` (2.0 GB) and
  `ZOOM0013_LR-0002.WAV` (seen in the inventories of archives; no file without a number is left).
- DJI's cameras write `DJI_1234_001.MP4`, `DJI_1234_002.MP4` of 4 GB each.
- DJI's microphones write a file each half hour, named after the moment at which it begins:
  `TX01_MIC011_20260419_060132_orig.wav`, then `TX01_MIC012_20260419_063133_orig.wav` (Mic 3 and Mini), or
  `DJI_01_20251116_040052.WAV` (Mic and Mic 2). The number counts files, not recordings.
- Tascam's recorders write `TASCAM_0001S12.wav` and go on, beyond 2 GB, with the next number, which a new recording has
  too.
- Others append a number: `talk_001.wav`, `talk_P001.wav`. So do people who number their recordings.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class PartScheme:
    """How the files of a recorder are named.

    `pattern` has the groups `number`, and `began` where names tell when a file begins; the rest of the name is the
    same for all files of a recording. Names whose number counts parts alone prove that files belong together
    (`is_proof`); where it counts recordings too, their lengths and times have to tell. `first` are the numbers that the
    first part may have, none where it may have any.
    """

    pattern: re.Pattern[str]
    is_proof: bool = False
    first: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class PartName:
    """What the name of a file says: `key` is the same for all files that may be parts of one recording.

    `began` is when it begins, in seconds since the epoch as if the recorder's clock showed UTC; NaN where the name
    does not say.
    """

    scheme: PartScheme
    key: str
    number: int
    began: float = math.nan


def _pattern(text: str) -> re.Pattern[str]:
    """The pattern of a whole name. No letter of another case, as `a.wav` and `A.wav` may be two recordings."""
    return re.compile(text, re.ASCII)


ONE, FIRST = frozenset({1}), frozenset({0, 1})
SCHEMES: Sequence[PartScheme] = (
    PartScheme(_pattern(r"G[HX](?P<number>\d\d)\d{4}\.(?:MP4|mp4)"), is_proof=True, first=ONE),
    PartScheme(_pattern(r"G(?:OPR|P(?P<number>\d\d))\d{4}\.(?:MP4|mp4)"), is_proof=True, first=frozenset({0})),
    PartScheme(_pattern(r"ZOOM\d{4}(?:_\w+)?-(?P<number>\d{4})\.(?:WAV|wav)"), is_proof=True, first=ONE),
    PartScheme(_pattern(r"DJI_\d{4}_(?P<number>\d{3})\.(?:MP4|mp4|MOV|mov)"), is_proof=True, first=ONE),
    PartScheme(_pattern(r"TX\d?\d?_MIC(?P<number>\d{3})_(?P<began>\d{8}_\d{6})(?:_[a-z]+)?\.(?:WAV|wav)")),
    PartScheme(_pattern(r"DJI_(?P<number>\d\d)_(?P<began>\d{8}_\d{6})(?:_[a-z]+)?\.(?:WAV|wav)")),
    PartScheme(_pattern(r".*?(?P<number>\d{4})(?:S\d\d|M\d{1,2})\.(?:WAV|wav)")),
    PartScheme(_pattern(r".+[_-]P?(?P<number>\d{2,4})\.\w+"), first=FIRST),
)


def part_name(name: str) -> PartName | None:
    """What a file's name says of its part in a recording; None for a name of no known scheme, or no UTF-8.

    >>> part_name("GX020042.MP4").number, part_name("GX020042.MP4").key
    (2, 'GX{2}0042.MP4')
    >>> part_name("GOPR0042.MP4").key == part_name("GP010042.MP4").key
    True
    >>> part_name("interview.wav") is None
    True
    """
    if not name.isascii() and any("\ud800" <= letter <= "\udfff" for letter in name):
        return None
    return next(filter(None, (_read(scheme, name) for scheme in SCHEMES)), None)


def _read(scheme: PartScheme, name: str) -> PartName | None:
    """What the name says by one scheme; None if it has not this form."""
    found = scheme.pattern.fullmatch(name)
    if found is None:
        return None
    told = found.groupdict()
    number = told["number"]
    if number is None:  # the first file of a GoPro before HERO6 has none
        return PartName(scheme, f"GP{{2}}{name[4:]}", 0)
    cuts = sorted((found.span("number"), *([found.span("began")] if "began" in told else [])))
    key = name
    for start, end in reversed(cuts):
        key = f"{key[:start]}{{{end - start}}}{key[end:]}"
    return PartName(scheme, key, int(number), _moment(told.get("began")))


def _moment(text: str | None) -> float:
    """A moment in a name in seconds since the epoch; NaN if it is not one.

    >>> _moment("20260419_063133") - _moment("20260419_060132")
    1801.0
    """
    with suppress(ValueError):
        return datetime.strptime(text or "", "%Y%m%d_%H%M%S").replace(tzinfo=UTC).timestamp()
    return math.nan
