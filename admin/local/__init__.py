"""`up` and its processes: the private Redis, the supervisor, and what is shown while they run."""
