"""Names in watched folders that are dropscribe's own. Nothing heavy is imported here, as every scan needs them."""

from __future__ import annotations

SETTINGS = ".dropscribe.toml"  # what holds for the recordings of a folder,
HOTWORDS = "hotwords.txt"  # the terms beside it,
ERROR = ".dropscribe.error.txt"  # and what is wrong with them
