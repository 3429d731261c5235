"""`python -m dropscribe` is the command `dropscribe`."""

from dropscribe.admin.main import run

run()
