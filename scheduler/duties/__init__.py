"""What the scheduler does beside watching: reconcile, notify, archive, remove, write status pages, serve metrics.

Each duty is safe to run twice and from several hosts. Sees folders through `scheduler.scanning` alone.
"""
