"""The command line.

Imports worker and models only inside the commands that need them, so that `dropscribe status` starts in a
blink.
"""
