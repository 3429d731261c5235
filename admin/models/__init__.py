"""The commands of the group `models`: list, show, fetch, convert, quantize, export, validate.

What they do is done in `dropscribe.models`, imported inside the commands.
"""
