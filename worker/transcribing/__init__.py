"""One chunk through the resident model, and the checks that its transcript has to pass.

Reads audio from the spool alone and keeps the outcome in the store. `quality_checks` is pure.
"""
