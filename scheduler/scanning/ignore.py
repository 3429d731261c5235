"""Which names in a watched folder are recordings; pure, and quick enough to ask of every file in every scan."""

from __future__ import annotations

from enum import Enum, auto

MEDIA_EXTENSIONS = frozenset(
    "wav mp3 flac ogg oga opus m4a m4b aac aif aiff aifc amr wma asf mp4 m4v mkv mka webm mov w64 au snd 3gp".split()
)

# Endings of our own outputs, `core.settings.OUTPUT_FORMATS`: no news beside recordings. They stand here once more, as
# the scanner's process has no use for pydantic.
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
    IGNORED_PATTERN = auto()
    NOT_MEDIA = auto()


_KINDS = {
    **{f".{extension}": NameKind.ADMIT for extension in MEDIA_EXTENSIONS},
    **{f".{extension}": NameKind.IGNORED_PATTERN for extension in _UNFINISHED_EXTENSIONS},
}


def classify(name: str) -> NameKind:
    """Judge a file by its name alone, without directories.

    A leading dot stands for hidden files and also for `._*` (macOS), `.syncthing.*`, `.nfs*` (deleted but
    open), `.fuse_hidden*` and our own unfinished outputs.
    """
    if name.startswith((".", "~$")) or name.endswith("~"):
        return NameKind.IGNORED_PATTERN
    _, dot, extension = name.rpartition(".")
    return _KINDS.get(dot + extension.lower(), NameKind.NOT_MEDIA)


def ignored_directory(name: str) -> bool:
    """True for a directory that is never entered: hidden, or some system's own."""
    return name.startswith(".") or name.lower() in _SYSTEM_DIRECTORIES
