"""The page that finds what was said, in all transcripts, and leads to the moment when it was."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from operator import itemgetter
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query
from starlette.responses import Response

from dropscribe.core.errors import UsageError
from dropscribe.serve import rendering
from dropscribe.serve.asking import Moment, Reader, SomeText
from dropscribe.serve.overview import MAX_HITS

ADDRESS = "/search"
FIRST_HITS = 50

router = APIRouter(include_in_schema=False)


@router.get(ADDRESS)
def search(
    store: Reader,
    q: SomeText = "",
    speaker: SomeText = "",
    since: Moment = "",
    until: Moment = "",
    folder: SomeText = "",
    limit: Annotated[int, Query(ge=1, le=MAX_HITS)] = FIRST_HITS,
) -> Response:
    """Where something was said; without a word, the form to look for one."""
    found: Mapping[str, Any] = {"hits": (), "more": False}
    wrong = ""
    if q:
        try:
            found = store.search(q, speaker, since or None, until or None, folder or None, 0, limit)
        except UsageError as error:
            wrong = f"{error.problem}; {error.remedy}"
    by_recording = ([*of_job] for _, of_job in groupby(found["hits"], itemgetter("job")))
    wanted = {"q": q, "speaker": speaker, "since": since, "until": until, "folder": folder}
    return rendering.page(
        store.caller,
        "search.html",
        place=ADDRESS,
        wanted=wanted,
        wrong=wrong,
        recordings=[(hits[0], hits) for hits in by_recording],
        number=len(found["hits"]),
        more=found["more"] and limit < MAX_HITS and f"{ADDRESS}?{urlencode(wanted | {'limit': MAX_HITS})}",
        is_cut=found["more"],
        folders=store.folders(),
        pieces=pieces,
    )


def pieces(hit: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    """The text of a hit in pieces, and of each whether it is what was looked for.

    >>> [*pieces({"text": "the budget", "marks": [{"start": 4, "end": 10}]})]
    [('the ', False), ('budget', True), ('', False)]
    """
    text, done = hit["text"], 0
    for mark in hit["marks"]:
        yield text[done : mark["start"]], False
        yield text[mark["start"] : mark["end"]], True
        done = mark["end"]
    yield text[done:], False
