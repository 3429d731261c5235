"""Alembic migrations; only forwards, since a store is backed up before an upgrade."""
