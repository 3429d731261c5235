"""One watched folder over time: which files are complete, which settings hold for them, and their admission.

Sees folders through `scheduler.scanning` alone and writes job rows through store.
"""
