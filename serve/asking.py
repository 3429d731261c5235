"""What routes are given and what they answer: the store as the caller sees it, by role; JSON in ASCII."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import Depends, Query, Request
from starlette.responses import Response

from dropscribe.admin.context import Context
from dropscribe.core.types import TokenRole
from dropscribe.serve.callers import Caller
from dropscribe.serve.visible import VisibleStore

MAX_TEXT = 4096  # characters of a parameter: a path's bytes at most (PATH_MAX)
MAX_NAME = 255  # characters of what somebody is called
JOB_ID = "^[0-9a-z]{1,16}$"  # all of a job's id
MAX_MOMENT = 40  # characters of a moment
NO_NUL = r"^[^\x00]*$"  # which no path and no database holds

SomeText = Annotated[str, Query(max_length=MAX_TEXT, pattern=NO_NUL)]
OptionalText = Annotated[str | None, Query(max_length=MAX_TEXT, pattern=NO_NUL)]
Moment = Annotated[
    str | None,
    Query(max_length=MAX_MOMENT, pattern=NO_NUL, description="a date, a date and a time, or 7d: a week ago"),
]


class Answer(Response):
    """A document as JSON in ASCII, which holds the bytes of file names that are not UTF-8 as the command line does."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """As Starlette asks for it."""
        return json.dumps(content, ensure_ascii=True, allow_nan=False).encode()


def _for_role(role: TokenRole) -> Callable[[Request], Awaitable[VisibleStore]]:
    """What gives an operation the store as its caller may see it."""

    async def visible(request: Request) -> VisibleStore:  # it asks nothing, and so needs no thread
        """The store as the caller may see it. Raises ForbiddenError without the role."""
        caller: Caller = request.state.caller
        caller.require(role)
        context: Context = request.app.state.context
        state = request.app.state
        return VisibleStore(context, caller, state.outlooks, state.speakers, state.transcripts, state.happenings)

    return visible


Reader = Annotated[VisibleStore, Depends(_for_role(TokenRole.READER))]
Editor = Annotated[VisibleStore, Depends(_for_role(TokenRole.EDITOR))]
Admin = Annotated[VisibleStore, Depends(_for_role(TokenRole.ADMIN))]


def told(schema: str, what: str, status: int = 200) -> dict[int | str, dict[str, Any]]:
    """A route's response in JSON: `schema` is one of docs/schemas, and `what` describes it."""
    return {status: {"description": what, "content": {"application/json": {"schema": {"title": schema}}}}}


def bytes_told(what: str, *kinds: str, status: int = 200) -> dict[int | str, dict[str, Any]]:
    """A route's response of other media types."""
    content = {kind: {"schema": {"type": "string", "format": "binary"}} for kind in kinds}
    return {status: {"description": what, "content": content}}
