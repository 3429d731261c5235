"""The database, and the only SQL in the project.

Each change of state that a job or a chunk can make is one function here, and the questions people ask are others.
Flat, one noun a file. Knows no model, no audio and no folder; imports only core.
"""
