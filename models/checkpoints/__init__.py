"""The files of checkpoints: found, fetched, checked, and converted in bounded memory. Only `convert` uses torch.

Knows no architecture; what is special to one model lies with its engine.
"""
