"""`python -m dropscribe` is the command `dropscribe`."""

from dropscribe.admin.cli.main import run

run()
