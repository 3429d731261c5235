"""Pure: documents compressed for the store, with a dictionary of what nearly all of them say."""

from __future__ import annotations

import zlib

PLAIN = b"{"  # how a document begins that is not compressed
# What is packed with it cannot be read without it: never change it. It saves half of what ten seconds of speech take.
DICTIONARY = b"""\
"speech_detector": "silero",
  "language": "en",
  "settings": {
    "digest": "source": {
    "path": "size": "sha256": ",
    "format": "mp3",
    "codec": "pcm_s16le",
    "channels": 2,
    "sample_rate": 44100,
 "tracks": [
      {
        "number": 1,
        "codec": "mp3",
        "channels": 1,
        "sample_rate": 16000,
        "language": "",
        "title": "",
        "left_out": ""
      }
    ],
    "separate_channels": [],
    "parts": []
  },
  "engine": {
    "engine": "whisper",
    "model": "Systran/faster-whisper-base@",
    "precision": "int8",
    "slots": 1,
    "longest_chunk": 1800.0,
    "notice": "",
    "quantized": "",
    "attention": "",
    "attention_reason": "",
    "load_seconds": 0.0,
    "memory_held": 0,
    "memory_free": 0
  },
  "notes": [],
  "reasons": [],
  "uncovered_speech": [],
  "timings": {
    "audio_decode": 0.0,
    "speech_detection": 0.0,
    "model": 0.0
  },
  "speakers": [],
  "segments": [
    {
      "id": 0,
      "start": 0.0,
      "end": 5.0,
      "text": "the ",
      "speaker": null,
      "kind": "speech",
      "confidence": 0.9,
      "words": [],
      "unsure": false,
      "quality": null
    }
  ],
  "missing": []
}
{
  "schema": "dropscribe.transcript/1",
  "job_id": ",
  "created_at": "202"""


def pack(document: str) -> bytes:
    """Compressed, as UTF-8.

    >>> unpack(pack("{}"))
    '{}'
    """
    packer = zlib.compressobj(zdict=DICTIONARY)
    return packer.compress(document.encode()) + packer.flush()


def unpack(stored: bytes) -> str:
    """What `pack` compressed; what earlier versions stored as it was, or without a dictionary, comes back too."""
    if stored.startswith(PLAIN):
        return stored.decode()
    return zlib.decompressobj(zdict=DICTIONARY).decompress(stored).decode()
