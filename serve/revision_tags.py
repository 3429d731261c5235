"""The number of a revision as HTTP has it: the tag of what is read, and the condition of what is changed."""

from __future__ import annotations

from starlette.responses import Response


def tagged(response: Response, revision: int) -> Response:
    """The response with the revision as its tag."""
    response.headers["ETag"] = f'"{revision}"'
    return response


def revision_of(tag: str | None) -> int | None:
    """The revision that a tag stands for; None for none.

    >>> revision_of('"12"'), revision_of(None)
    (12, None)
    """
    return None if tag is None else int(tag.strip('"'))
