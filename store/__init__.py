"""The database.

The only SQL in the project. Each state change a job can make is one function here. Knows no model, no audio
and no folder.
"""
