"""The command line, and dropscribe from Python.

`cli` declares the commands; `local` runs a machine, `ask` reads, `act` changes, `check` diagnoses, `models` handles
checkpoints, `terminal` writes for people. Imports worker and models only inside the commands that need them, so that
`dropscribe status` starts in a blink. Speaks to the database through store alone.
"""
