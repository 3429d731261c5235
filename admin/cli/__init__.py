"""Which commands there are and what they take: declarations for typer, no work.

Imports the rooms beside it inside the commands, so that `dropscribe --help` starts in a blink.
"""
