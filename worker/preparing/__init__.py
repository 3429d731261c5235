"""From a recording in a watched folder to audio in the spool and a plan of chunks.

Foreign media is opened nowhere else, and decoded only in the child process. Knows no model and no transcript.
"""
