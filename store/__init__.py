"""The database, and the only SQL in the project.

Each change of state that a job or a chunk can make is one function here, and so is each question that people ask.
Flat, one noun a file. Knows no model and no audio, opens no watched folder, imports only core.
From the bottom up: tables, sql, session, events and switches, leases, jobs, chunk_plans, chunks, then recovery and
commands. What commands ask takes SQLAlchemy and the tables from sql, and imports neither.
"""
