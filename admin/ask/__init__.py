"""Commands that only read: status, jobs, show, transcript, search, logs, export, plan, config.

They change no row and no recording.
"""
