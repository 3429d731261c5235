"""What everyone may know.

Types, errors, settings, logs and the queue. Imports no other package, no SQL and no torch.
"""
