"""`python -m admin` is the command `dropscribe`."""

from admin.main import run

run()
