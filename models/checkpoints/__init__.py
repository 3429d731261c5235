"""The files of checkpoints: found, fetched, checked, and converted in bounded memory. No torch but in `convert`.

Knows no architecture; what is special to one model lies with its engine.
"""
