"""Opens media that nobody vouches for, behind whitelists: the file, a link of it, or what its header should say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import av
from av.container import InputContainer

from dropscribe.core.error_translation import translated
from dropscribe.core.errors import NotMediaError, SpoolError
from dropscribe.worker.preparing import ogg_links, understated
from dropscribe.worker.preparing.is_sound import is_sound
from dropscribe.worker.preparing.ogg_links import OggLink
from dropscribe.worker.preparing.understated import MendedFile, Understated

# A demuxer is allowed when one of its comma-separated names stands here: "mov" admits ffmpeg's
# "mov,mp4,m4a,3gp,3g2,mj2" and "matroska" its "matroska,webm". Playlists (hls, concat, sdp) read other files.
FORMATS = "wav,mp3,flac,ogg,mov,matroska,aac,aiff,amr,asf,w64,au,mpegts,mpeg,avi,flv,caf,ac3,eac3,mxf,wv,tta,dts,dtshd"

# The decoders of those formats; it keeps the hundreds of others, all of video among them, out of reach.
CODECS = (
    "aac,aac_latm,ac3,adpcm_g722,adpcm_g726,adpcm_ima_qt,adpcm_ima_wav,adpcm_ms,adpcm_swf,adpcm_yamaha,alac,amrnb,"
    "amrwb,dca,eac3,flac,g722,gsm,gsm_ms,ilbc,libopus,libvorbis,mlp,mp1,mp1float,mp2,mp2float,mp3,mp3float,nellymoser,"
    "opus,pcm_alaw,pcm_bluray,pcm_dvd,pcm_f32be,pcm_f32le,pcm_f64be,pcm_f64le,pcm_mulaw,pcm_s16be,pcm_s16be_planar,"
    "pcm_s16le,pcm_s16le_planar,pcm_s24be,pcm_s24le,pcm_s24le_planar,pcm_s32be,pcm_s32le,pcm_s32le_planar,pcm_s64be,"
    "pcm_s64le,pcm_s8,pcm_s8_planar,pcm_u16be,pcm_u16le,pcm_u24be,pcm_u24le,pcm_u32be,pcm_u32le,pcm_u8,s302m,speex,"
    "libspeex,truehd,tta,vorbis,wavpack,wmalossless,wmapro,wmav1,wmav2,wmavoice"
)

# Only a path obeys these lists: a file object would bypass even ffmpeg's own. `subfile` reads a part of one.
OPTIONS = {"format_whitelist": FORMATS, "codec_whitelist": CODECS, "protocol_whitelist": "file,subfile"}

BLOCK = 1 << 20  # bytes that are read at once


@dataclass(frozen=True, slots=True)
class Behind:
    """What lies behind the sound that the header claims, and whether that is sound; `mended` is None unless it is."""

    found: Understated | None
    is_sound: bool

    @property
    def mended(self) -> Understated | None:
        """What the header should say."""
        return self.found if self.is_sound else None

    @property
    def header_share(self) -> float:
        """The part of the sound that the header claims where it should say more; 0 where it is right."""
        return self.mended.share if self.mended else 0.0

    @property
    def unread(self) -> int:
        """Bytes that are neither sound nor described."""
        return self.found.end - self.found.claimed if self.found and not self.is_sound else 0


def behind_sound(source: Path) -> Behind:
    """What lies behind the sound of a file. Raises SpoolError."""
    with translated(OSError, into=unreadable), source.open("rb") as file:
        found = understated.find(file)
        return Behind(found, found is not None and is_sound(file, found, OPTIONS))


def links_of(source: Path) -> tuple[OggLink, ...]:
    """The links of a file that has several. Raises SpoolError."""
    with translated(OSError, into=unreadable), source.open("rb") as file:
        return ogg_links.find(file)


@contextmanager
def container_of(source: Path, behind: Behind, links: Sequence[OggLink]) -> Iterator[InputContainer]:
    """The opened file, or the first of its links; where its header claims less than there is, as if it did not.

    Raises NotMediaError or SpoolError.
    """
    if behind.mended is None:
        with _first_link(source, links) if links else _opened(source, str(source)) as container:
            yield container
        return
    # A file object bypasses ffmpeg's lists. But its format is given, reads no other file, and `_tracks` checks codecs.
    with MendedFile(source, behind.mended) as file, _opened(source, file, behind.mended.format) as container:
        yield container


def _opened(source: Path, file: str | MendedFile, name: str | None = None) -> InputContainer:
    """The file, opened by FFmpeg with one thread. Raises NotMediaError, MemoryError."""
    try:
        container = av.open(file, "r", format=name, options=OPTIONS, metadata_errors="replace")
    except MemoryError:
        raise
    except OSError as error:
        check_readable(source)
        raise NotMediaError("damaged, or not media", remedy="check the file, or convert it to WAV") from error
    except av.FFmpegError as error:
        cause = "an unsupported format" if isinstance(error, av.ArgumentError) else "damaged, or not media"
        raise NotMediaError(f"{cause} ({error.strerror})", remedy="check the file, or convert it to WAV") from error
    for stream in container.streams.audio:
        if stream.codec_context:
            stream.codec_context.thread_count = 1  # a closed-off process starts no threads
    return container


def opened_link(source: Path, link: OggLink) -> InputContainer:
    """A link as if it were a file. Raises NotMediaError or SpoolError."""
    return _opened(source, f"subfile,,start,{link.start},end,{link.end},,:{source}")


def _first_link(source: Path, links: Sequence[OggLink]) -> InputContainer:
    """The first that can be read; the last where none can."""
    for link in links[:-1]:
        with suppress(NotMediaError):
            return opened_link(source, link)
    return opened_link(source, links[-1])


def check_readable(source: Path) -> None:
    """Raise SpoolError if the disk withholds a byte: demuxers call damage an I/O error, too."""
    with translated(OSError, into=unreadable), source.open("rb") as file:
        while file.read(BLOCK):
            pass


def unreadable(error: OSError) -> SpoolError:
    """The error of a disk that does not give the working copy back."""
    return SpoolError(f"its working copy cannot be read ({error.strerror})", remedy="check that disk")
