"""Every call into a watched folder, made in a child process that is killed and replaced when a share hangs.

`scanner` is the scheduler's side of that process, `child` the other. May import core, of store only plain values, and
nothing of the rooms beside it, as the child has to start quickly.
"""
