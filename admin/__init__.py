"""The command line, and dropscribe from Python.

`cli` declares the commands; `local` runs a machine, `ask` reads, `act` changes, `check` diagnoses, `models` handles
checkpoints. Below these, `state` holds what several of them know of jobs and of the fleet, `context` opens settings,
store and consoles, and `terminal` writes for people. Imports worker and models only inside the commands that need
them, so that `dropscribe status` starts in a blink. Speaks to the database through store alone.
"""
