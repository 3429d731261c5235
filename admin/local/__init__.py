"""`up` and its processes: the private Redis, the supervisor, and what is shown while they run.

Starts schedulers and workers as child processes, and imports them only inside those.
"""
