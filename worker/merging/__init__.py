"""The transcripts of all chunks become one timeline with one set of speakers.

Pure: plain values in and out, no store, no files, no audio.
"""
