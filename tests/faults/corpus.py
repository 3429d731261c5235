"""Files that mean harm: playlists and scripts in disguise, references to other files, bombs, claims, names."""

from __future__ import annotations

import struct
from pathlib import Path

import av
import numpy as np
import soundfile

from tests.media_files import sound_frames, tone, wav, write

WAV_RATE, WAV_CHANNELS = 24, 22  # where they stand in the header that `wav` writes
FLAC_RATE = 18  # where 20 bits of sample rate begin, then 3 of channels, 5 of width, 36 of length


def lures(canary: Path, port: int) -> dict[str, str]:
    """Texts that make players read `canary` or connect to a port of this machine."""
    url = f"http://127.0.0.1:{port}/lure.ts"
    segment = "#EXTM3U\n#EXT-X-TARGETDURATION:10\n{}#EXTINF:10,\n{}\n#EXT-X-ENDLIST\n"
    return {
        "hls file": segment.format("", canary),
        "hls url": segment.format("", url),
        "hls key": segment.format(f'#EXT-X-KEY:METHOD=AES-128,URI="{url}"\n', canary),
        "hls map": segment.format(f'#EXT-X-MAP:URI="file://{canary}"\n', url),
        "hls concat": segment.format("", f"concat:{canary}|{url}"),
        "ffconcat": f"ffconcat version 1.0\nfile {canary}\nfile {url}\n",
        "sdp": f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio {port} RTP/AVP 0\n",
        "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period>'
        f'<AdaptationSet mimeType="audio/mp4"><Representation id="1"><BaseURL>{url}</BaseURL></Representation>'
        "</AdaptationSet></Period></MPD>",
        "asx": f'<asx version="3.0"><entry><ref href="{url}"/></entry></asx>',
        "asf reference": f"[Reference]\r\nRef1={url}\r\n",
        "pls": f"[playlist]\nFile1={url}\nFile2={canary}\nNumberOfEntries=2\n",
        "smil": f'<smil><body><audio src="{url}"/></body></smil>',
        "xspf": f'<playlist version="1"><trackList><track><location>{url}</location></track></trackList></playlist>',
        "real": f"rtsp://127.0.0.1:{port}/lure.rm\n",
        "filter graph": f"amovie={canary}",
        "avisynth": f'WavSource("{canary}")',
        "redirect": f"RTSPtext\r\nrtsp://127.0.0.1:{port}/lure\r\n",
        "xml entity": f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e SYSTEM "{url}">]><MPD>&e;</MPD>',
    }


# What stands before a lure to make it look like sound.
DISGUISES = {
    "bare": b"",
    "wav": b"RIFF\xff\xff\xff\x7fWAVE",
    "mp3": b"ID3\x04\x00\x00\x00\x00\x00\x00",
    "utf-8 mark": b"\xef\xbb\xbf",
}


def silent_flac(path: Path, seconds: int, rate: int = 24_000, *, claims: int | None = None) -> Path:
    """Silence that takes a few bytes a second; the header may claim another number of samples."""
    with soundfile.SoundFile(path, "w", rate, 1, subtype="PCM_16", format="FLAC") as file:
        for _ in range(seconds):
            file.write(np.zeros(rate, np.int16))
    if claims is not None:
        with path.open("r+b") as file:
            file.seek(FLAC_RATE)
            (word,) = struct.unpack(">Q", file.read(8))
            file.seek(FLAC_RATE)
            file.write(struct.pack(">Q", word >> 36 << 36 | claims))
    return path


def claiming_wav(path: Path, at: int, value: int, size: int) -> Path:
    """A good WAV file with another number in its header."""
    with wav(path, tone(0.3)).open("r+b") as file:
        file.seek(at)
        file.write(value.to_bytes(size, "little"))
    return path


CLAIM = struct.pack("<Q", 1 << 62)  # bytes, in a header
# Where containers that can say so much say how long their sound is: behind what, and how often.
LENGTHS = {
    "w64": (b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a", 1),
    "wav": (b"ds64\x1c\0\0\0", 3),
    "caf": (b"data", 1),
}


def of_exabytes(path: Path, container: str) -> Path:
    """A good file in one of `LENGTHS` that claims to hold 2**62 bytes."""
    data = write(path, container, "pcm_s16le", 24_000, options={"rf64": "always"}).read_bytes()
    marker, times = LENGTHS[container]
    claim = CLAIM[::-1] if container == "caf" else CLAIM
    head, tail = data.split(marker, 1)
    path.write_bytes(head + marker + claim * times + tail[8 * times :])
    return path


def of_long_names(path: Path, size: int) -> Path:
    """A good Matroska file with a title of so many letters."""
    with av.open(str(path), "w", format="matroska") as container:
        container.metadata["title"] = "é" * size
        stream = container.add_stream("flac", rate=24_000, layout="mono")
        for frame in sound_frames(tone(1.0), 24_000, "mono"):
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def claiming_mkv(path: Path, duration: float) -> Path:
    """A good Matroska file that claims to be of that length, in milliseconds."""
    data = write(path, "matroska", "flac").read_bytes()
    at = data.index(b"\x44\x89\x88") + 3  # Duration, of eight bytes
    path.write_bytes(data[:at] + struct.pack(">d", duration) + data[at + 8 :])
    return path


def claiming_m4a(path: Path, seconds: int) -> Path:
    """A good MPEG 4 file whose headers claim that length, in their 32 bits."""
    data = bytearray(write(path, "ipod", "aac").read_bytes())
    for name, behind in ((b"mvhd", 16), (b"mdhd", 16), (b"tkhd", 20)):
        at = data.index(name) + 4
        struct.pack_into(">I", data, at + behind, min(seconds * 1000, (1 << 32) - 1))
    path.write_bytes(data)
    return path


# Names that mean something to a shell, a player, a terminal, a log, a page or a program that reads JSON.
NAMES = (
    "\x1b[2J\x1b[31mred.wav",
    "\x1b]0;title\x07.wav",
    "\x9b31m.wav",
    'quote".wav\n{"level": "critical", "message": "forged"}',
    "line\r\nbreak.wav",
    "<img src=x onerror=alert(1)>.wav",
    "$(touch pwned);`touch pwned`.wav",
    "-i.wav",
    "--help.wav",
    "concat:a.wav|b.wav",
    "http:127.0.0.1.wav",
    "pipe:0",
    "%s%n%03d.wav",
    "{0.__class__}.wav",
    "*?[a-z].wav",
    "\u202egnp.wav",
    "caf\udce9.wav",
    "nul\u2028line.wav",
    "x" * 251 + ".wav",
)
