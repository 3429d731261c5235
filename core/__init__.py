"""What everyone may know: types, errors, settings, logs, names and the queue.

Imports no other room, no SQL, no torch and no audio library, and starts nothing at import.
"""
