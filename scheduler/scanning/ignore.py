"""Which names in a watched folder are recordings; pure, and quick enough to ask of every file in every scan."""

from __future__ import annotations

from collections.abc import Container
from enum import Enum, auto

from dropscribe.core import reserved_names

MEDIA_EXTENSIONS = frozenset(
    "wav wave bwf rf64 w64 aif aiff aifc caf au snd flac wv tta "
    "mp3 mp2 mpga aac m4a m4b m4r ac3 eac3 dts amr awb wma asf ogg oga opus spx waptt weba mka qta "
    "mp4 m4v f4v mov 3gp 3gpp 3g2 mkv webm ogv wmv avi flv mpg mpeg vob m2t m2ts mxf".split()
)

# Of these, the head decides: TypeScript has the same endings as transport streams.
STREAM_EXTENSIONS = frozenset({"ts", "mts"})

# Endings of our own outputs, `core.settings.OUTPUT_FORMATS`. They stand here once more, as the scanner's process has no
# use for pydantic.
TRANSCRIPTS = (".json", ".txt", ".srt", ".vtt", ".tsv", ".html", ".md", ".docx", ".rttm")

# What copying and downloading programs call a file that is not whole yet.
_UNFINISHED_EXTENSIONS = frozenset({"part", "partial", "filepart", "tmp", "crdownload", "download"})

# Bins, snapshots and indexes of NAS systems, synchronizers and filesystems, in lower case. Those that begin
# with a dot (.stfolder, .stversions, .Trash-1000, .snapshot) are covered by the rule for dots.
_SYSTEM_DIRECTORIES = frozenset(
    {
        "#recycle",
        "#snapshot",
        "$recycle.bin",
        "@eadir",
        "@recently-snapshot",
        "@recycle",
        "@tmp",
        "lost+found",
        "system volume information",
        "~snapshot",
    }
)


class NameKind(Enum):
    """What a file's name says about it."""

    ADMIT = auto()
    ADMIT_BY_HEAD = auto()
    IGNORED_PATTERN = auto()
    NOT_MEDIA = auto()


_KINDS = {
    **{f".{extension}": NameKind.ADMIT for extension in MEDIA_EXTENSIONS},
    **{f".{extension}": NameKind.ADMIT_BY_HEAD for extension in STREAM_EXTENSIONS},
    **{f".{extension}": NameKind.IGNORED_PATTERN for extension in _UNFINISHED_EXTENSIONS},
}


def classify(name: str) -> NameKind:
    """Judge a file by its name alone, without directories.

    A leading dot stands for hidden files and also for `._*` (macOS), `.syncthing.*`, `.nfs*` (deleted but
    open), `.fuse_hidden*` and our own unfinished outputs.

    >>> [classify(name).name for name in ("a.WAV", "a.ts", "a.wav.part", ".a.wav", "a.pdf")]
    ['ADMIT', 'ADMIT_BY_HEAD', 'IGNORED_PATTERN', 'IGNORED_PATTERN', 'NOT_MEDIA']
    """
    if name.startswith((".", "~$")) or name.endswith("~"):
        return NameKind.IGNORED_PATTERN
    _, dot, extension = name.rpartition(".")
    return _KINDS.get(dot + extension.lower(), NameKind.NOT_MEDIA)


def ignored_directory(name: str) -> bool:
    """True for a directory that is never entered: hidden, or some system's own.

    >>> ignored_directory(".git"), ignored_directory("#recycle"), ignored_directory("talks")
    (True, True, False)
    """
    return name.startswith(".") or name.lower() in _SYSTEM_DIRECTORIES


def is_transcript(name: str, recordings: Container[str], stems: Container[str]) -> bool:
    """True if a file with the ending of an output is named after a recording beside it, or is otherwise our own.

    `recordings` are the names of the recordings of its folder, `stems` the same without their endings.

    >>> is_transcript("a.srt", {"a.wav"}, {"a"}), is_transcript("b.srt", {"a.wav"}, {"a"})
    (True, False)
    """
    base = name.rpartition(".")[0]
    named_after = base in stems or base in recordings or base.rpartition(".")[0] in recordings
    return named_after or name in {reserved_names.HOTWORDS, reserved_names.STATUS_PAGE}
