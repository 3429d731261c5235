"""`dropscribe search`: where something was said, by whom, in which recording."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import groupby, takewhile
from operator import attrgetter
from pathlib import Path
from typing import Any

from rich.text import Text

from dropscribe.admin.context import Context
from dropscribe.admin.state.job_lookup import below
from dropscribe.admin.terminal import moments, render
from dropscribe.admin.terminal.page import Page, first
from dropscribe.core.clock import clock, iso
from dropscribe.core.errors import UsageError
from dropscribe.store import search as index
from dropscribe.store import search_words
from dropscribe.store.search import Hit, Query
from dropscribe.store.session import Database

MARK = "bold reverse"
SHOWN = 90  # characters on each side of what was found


def search(
    context: Context,
    typed: Sequence[str],
    *,
    speaker: str,
    since: str | None,
    until: str | None,
    folder: Path | None,
    around: int,
    limit: int,
    as_json: bool,
) -> None:
    """Print at most `limit` hits (0: all), each with `around` lines before and after it."""
    query = query_of(" ".join(map(_quoted, typed)), speaker, since, until, below(folder))
    page = first(limit, partial(index.find, context.database, query))
    search = Search(context.database, query, around)
    context.answer(
        lambda: {"hits": [*map(search.document, page.shown)], "more": page.is_cut},
        lambda: _show(context, search, page),
        as_json=as_json,
    )


def query_of(text: str, speaker: str, since: str | None, until: str | None, folder: str | None) -> Query:
    """What is looked for, as people type it. Raises UsageError without a word, and for a moment that cannot be read."""
    query = Query(
        terms=search_words.parse(text),
        speaker=speaker,
        since=moments.moment_if_any(since),
        until=moments.moment_if_any(until, end=True),
        folder=folder,
    )
    if not query.terms:
        raise UsageError(f"there is no word to look for in {text!r}", remedy="name one")
    return query


def _quoted(argument: str) -> str:
    """As it was typed: the shell took away the quotes around what has blanks in it.

    >>> _quoted("next year"), _quoted("budget")
    ('"next year"', 'budget')
    """
    return f'"{argument}"' if " " in argument and '"' not in argument else argument


@dataclass(frozen=True, slots=True)
class Search:
    """What was looked for, where, and how many lines to show before and after each hit."""

    database: Database
    query: Query
    around: int

    def marks(self, line: Hit) -> Sequence[tuple[int, int]]:
        """Where in the line is what was looked for."""
        return search_words.marks(line.text, self.query.terms)

    def lines(self, hit: Hit) -> Sequence[Hit]:
        """The hit and the lines around it."""
        return index.around(self.database, hit, self.around) if self.around else [hit]

    def document(self, hit: Hit) -> dict[str, Any]:
        """A hit as docs/cli.md describes it."""
        lines, position = self.lines(hit), attrgetter("position")
        return asdict(hit) | {
            "source": hit.source,
            "modified_at": iso(hit.mtime_ns / 1e9),
            "marks": [{"start": start, "end": end} for start, end in self.marks(hit)],
            "before": [*map(_line, lines[: bisect_left(lines, hit.position, key=position)])],
            "after": [*map(_line, lines[bisect_right(lines, hit.position, key=position) :])],
        }


def _line(hit: Hit) -> dict[str, Any]:
    """A line as docs/cli.md describes it."""
    return {"start": hit.start, "end": hit.end, "speaker": hit.speaker, "text": hit.text}


def _show(context: Context, search: Search, page: Page[Hit]) -> None:
    """The hits, job by job, and that there are more if the page is cut."""
    if not page.shown:
        context.out.print("nothing found")
    for _, of_job in groupby(page.shown, attrgetter("job")):
        _show_job(context, search, [*of_job])
    if page.is_cut:
        context.err.print(f"the first {page.limit}; --limit 0 lists all")


def _show_job(context: Context, search: Search, hits: Sequence[Hit]) -> None:
    """The recording, then each hit with the lines around it."""
    head = f"{render.safe(hits[0].source)}  ({hits[0].job}, {render.moment(hits[0].mtime_ns / 1e9)})"
    context.out.print(Text(head, style="bold"), soft_wrap=True)
    for hit in hits:
        for line in search.lines(hit):
            text = _marked(line, search.marks(line), brackets=not context.out.is_terminal)
            context.out.print(_head(line, is_hit=line.position == hit.position).append_text(text), soft_wrap=True)
        if search.around:
            context.out.print()


def _head(line: Hit, *, is_hit: bool) -> Text:
    """When it is said and by whom; dim for a line that is only around a hit."""
    who = f"{render.safe(line.speaker)}:" if line.speaker else ""
    return Text(f"  {clock(line.start)}  {who} ", style="" if is_hit else "dim")


def _marked(line: Hit, marks: Sequence[tuple[int, int]], *, brackets: bool) -> Text:
    """The line around its first mark, with the marks highlighted, or in brackets where there is no terminal."""
    found, style = ("[{}]", "") if brackets else ("{}", MARK)
    start, end = marks[0] if marks else (SHOWN, SHOWN)
    at, last = max(0, start - SHOWN), end + SHOWN
    shown = Text("... " if at else "")
    for start, end in takewhile(lambda mark: mark[1] <= last, marks):
        shown.append(render.safe(line.text[at:start]))
        shown.append(found.format(render.safe(line.text[start:end])), style=style)
        at = end
    return shown.append(render.safe(line.text[at : max(at, last)])).append(" ..." if last < len(line.text) else "")
