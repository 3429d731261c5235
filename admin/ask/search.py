"""`dropscribe search`: where something was said, by whom, in which recording."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.text import Text

from dropscribe.admin.context import Context
from dropscribe.admin.terminal import moments, render
from dropscribe.core.clock import clock
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
    text = " ".join(map(_quoted, typed))
    query = Query(
        terms=search_words.parse(text),
        speaker=speaker,
        since=moments.moment(since) if since else None,
        until=moments.moment(until, end=True) if until else None,
        folder=str(folder.expanduser().resolve()) if folder else None,
    )
    if not query.terms:
        raise UsageError(f"there is no word to look for in {text!r}", remedy="name one")
    found = index.find(context.database, query, limit=limit + 1 if limit else None)
    shown = found[:limit] if limit else found
    more = len(found) > len(shown)
    if as_json:
        render.write_json({"hits": [_document(context.database, hit, query, around) for hit in shown], "more": more})
    elif not shown:
        context.out.print("nothing found")
    else:
        _print(context, shown, query, around)
        if more:
            context.err.print(f"the first {limit}; --limit 0 lists all")


def _quoted(argument: str) -> str:
    """As it was typed: the shell took away the quotes around what has blanks in it."""
    return f'"{argument}"' if " " in argument and '"' not in argument else argument


def _document(database: Database, hit: Hit, query: Query, around: int) -> dict[str, Any]:
    """A hit as docs/cli.md describes it."""
    near = index.around(database, hit, around) if around else []
    return asdict(hit) | {
        "source": hit.source,
        "marks": [{"start": start, "end": end} for start, end in search_words.marks(hit.text, query.terms)],
        "before": [_line(line) for line in near if line.position < hit.position],
        "after": [_line(line) for line in near if line.position > hit.position],
    }


def _line(hit: Hit) -> dict[str, Any]:
    return {"start": hit.start, "end": hit.end, "speaker": hit.speaker, "text": hit.text}


def _print(context: Context, hits: Sequence[Hit], query: Query, around: int) -> None:
    for job, of_job in groupby(hits, lambda hit: hit.job):
        found = list(of_job)
        head = f"{render.safe(found[0].source)}  ({job}, {render.moment(found[0].mtime_ns / 1e9)})"
        context.out.print(Text(head, style="bold"), soft_wrap=True)
        for hit in found:
            for line in index.around(context.database, hit, around) if around else [hit]:
                style = "" if line.position == hit.position else "dim"
                head = f"  {clock(line.start)}  {render.safe(line.speaker)}{':' if line.speaker else ''} "
                context.out.print(
                    Text(head, style=style).append_text(_marked(line, query, brackets=not context.out.is_terminal)),
                    soft_wrap=True,
                )
            if around:
                context.out.print()


def _marked(line: Hit, query: Query, *, brackets: bool) -> Text:
    """The line around its first hit, with the hits highlighted, or in brackets where there is no terminal."""
    spans = search_words.marks(line.text, query.terms)
    first, last = (spans[0][0] - SHOWN, spans[0][1] + SHOWN) if spans else (0, 2 * SHOWN)
    shown, at = Text("... " if first > 0 else ""), max(0, first)
    for start, end in [span for span in spans if span[1] <= last]:
        shown.append(render.safe(line.text[at:start]))
        found = render.safe(line.text[start:end])
        shown.append(f"[{found}]" if brackets else found, style="" if brackets else MARK)
        at = end
    return shown.append(render.safe(line.text[at : max(at, last)])).append(" ..." if last < len(line.text) else "")
