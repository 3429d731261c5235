"""How files that strangers may have laid out are opened for reading."""

from __future__ import annotations

import os

# NOFOLLOW refuses a link, NONBLOCK keeps a FIFO of that name from stopping us for ever, CLOEXEC keeps children out.
SAFELY = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
