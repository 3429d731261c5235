"""`doctor` and `health`: is everything there that dropscribe needs, and does it work now.

They change nothing, and need neither a running fleet nor a model in memory.
"""
