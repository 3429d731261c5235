"""What history takes in the store: bytes for each job that has ended, by table and by index, on both databases.

Run as `python -m bench.space [--jobs 20000] [--seconds 10]`; takes about a minute. A few recordings go through the
product's own processes, with a scripted model that says a sentence each 5 s. Their rows are then copied, with ids,
names, digests and moments of their own, as so many other recordings would have left them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, text

from bench.machine import Machine, private
from dropscribe.core.types import JobState
from dropscribe.store import queries
from dropscribe.store.jobs import new_id
from dropscribe.store.roots import list_roots
from dropscribe.store.session import Database
from dropscribe.store.tables import metadata
from tests.e2e.harness import speech
from tests.servers import find_postgresql, private_postgresql

RECORDINGS = 8
SETTINGS = {"engine": "scripted", "speech_detector": "energy", "speakers": "off", "stable_seconds": "0"}
CONTENT = {"segments", "transcripts", "lines"}  # tables that grow with what is said
FOLDED = "ended"  # of which the reconciler makes few rows every few seconds
DIGEST = r"\b[0-9a-f]{32,64}\b"
DIGESTS = (16, 32)  # bytes
NAME = r"\brecording-\d+"
MOMENT = 1e9  # columns with larger numbers are moments or turns, which no two jobs share

SIZES = {
    "sqlite": """
SELECT m.tbl_name, s.name, sum(s.pgsize) FROM dbstat AS s JOIN sqlite_master AS m ON m.name = s.name GROUP BY 1, 2
""",
    "postgresql": """
SELECT t.relname, c.relname, CASE c.relkind WHEN 'r' THEN pg_table_size(c.oid) ELSE pg_relation_size(c.oid) END
FROM pg_class AS c LEFT JOIN pg_index AS i ON i.indexrelid = c.oid
JOIN pg_class AS t ON t.oid = coalesce(i.indrelid, c.oid)
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'i')
""",
}

Sizes = dict[tuple[str, str], int]  # bytes, by table and by the name of the table or of its index


def main(argv: Sequence[str] | None = None) -> int:
    """Measure on each database, print a table for it."""
    options = _parse(argv)
    programs = find_postgresql()
    for kind in ("SQLite", *(["PostgreSQL"] if programs else [])):
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dropscribe-space-")))
            url = stack.enter_context(private_postgresql(programs)) if programs and kind == "PostgreSQL" else ""
            own = {"database_url": url} if url else {}
            machine = stack.enter_context(private(folder, **SETTINGS, **own))
            _transcribe(machine, folder, options.seconds)
            machine.supervisor.stop(machine.supervisor.children[1:], 20.0)
            before = sizes(machine.database)
            copied = multiply(machine.database, options.jobs)
            after = sizes(machine.database)
            _print(kind, options.seconds, {key: (after[key] - before.get(key, 0)) / copied for key in after})
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.space", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=20_000, help="how many")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of each recording")
    return parser.parse_args(argv)


def _transcribe(machine: Machine, folder: Path, seconds: float) -> None:
    """A few recordings, from admission to their files."""
    inbox, written = folder / "interviews", folder / "written"
    inbox.mkdir()
    written.mkdir()
    machine.start_workers()
    machine.start("scheduler", "scheduler", "scheduler", str(inbox))
    machine.wait_until(lambda: list_roots(machine.database))
    for number in range(RECORDINGS):
        speech(written / f"recording-{number:06d}.wav", seconds, seed=number).rename(
            inbox / f"recording-{number:06d}.wav"
        )
    machine.wait_until(lambda: queries.count_by_state(machine.database).get(JobState.DONE, 0) >= RECORDINGS)


def multiply(database: Database, jobs: int) -> int:
    """Copy all that is known of the jobs that are there until there are so many; returns how many were added."""
    with database.begin() as connection:
        rows = {table: _rows(connection, table) for table in metadata.sorted_tables if _is_of_jobs(table)}
    ids = [row["id"] for row in rows[metadata.tables["jobs"]]]
    copies = max(1, jobs // len(ids) - 1)
    for numbers in _in_batches(range(copies, 0, -1)):  # as time passes, the older the higher the number
        with database.begin() as connection:
            changes = [_another(number, ids) for number in numbers]
            for table, originals in rows.items():
                made = [{name: change(value) for name, value in row.items()} for change in changes for row in originals]
                if made:
                    connection.execute(_inserting(table, made[0]), made)
    return copies * len(ids)


def _in_batches(numbers: Sequence[int], size: int = 100) -> Iterator[Sequence[int]]:
    return (numbers[start : start + size] for start in range(0, len(numbers), size))


def _is_of_jobs(table: Table[Any]) -> bool:
    return table.name == "jobs" or any(key.column.table.name in {"jobs", "chunks"} for key in table.foreign_keys)


def _rows(connection: Connection, table: Table[Any]) -> list[dict[str, Any]]:
    """As the database has them, but for numbers that it gives by itself."""
    found = connection.execute(text(f"SELECT * FROM {table.name}")).mappings().all()
    return [
        {name: _plain(value) for name, value in row.items() if not (name == "id" and isinstance(value, int))}
        for row in found
    ]


def _plain(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, dict | list) else value


def _inserting(table: Table[Any], row: Mapping[str, Any]) -> Any:
    columns, marks = (", ".join(form.format(name) for name in row) for form in ('"{}"', ":{}"))
    return text(f"INSERT INTO {table.name} ({columns}) VALUES ({marks})")


def _another(number: int, ids: Sequence[str]) -> Callable[[Any], Any]:
    """What a value of a row is in the copy of this number."""
    called = {old: new_id() for old in ids}
    pattern = re.compile("|".join((*ids, DIGEST, NAME)))
    names = count(number * len(ids))
    numbered: dict[str, str] = defaultdict(lambda: f"recording-{next(names):06d}")

    def word(found: re.Match[str]) -> str:
        said = found[0]
        if said in called:
            return called[said]
        return numbered[said] if said.startswith("rec") else _digest(number, said.encode()).hex()[: len(said)]

    def change(value: Any) -> Any:
        if isinstance(value, str):
            return pattern.sub(word, value)
        if isinstance(value, bytes):
            return _digest(number, value)[: len(value)] if len(value) in DIGESTS else value
        return value - number if isinstance(value, int | float) and value > MOMENT else value

    return change


def _digest(number: int, value: bytes) -> bytes:
    return hashlib.sha256(b"%d %s" % (number, value)).digest()


def sizes(database: Database) -> Sizes:
    """Bytes of each table and each index, whole pages."""
    if not database.is_sqlite:  # whose vacuum comes by itself
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as outside:
            outside.execute(text("VACUUM"))
    with database.read() as connection:
        found = connection.execute(text(SIZES[database.engine.dialect.name]))
        return {
            ("lines" if table.startswith("lines_") else table, name): int(size)
            for table, name, size in found
            if table != FOLDED
        }


@dataclass(frozen=True, slots=True)
class Taken:
    """What a table takes for each job, in bytes, with its indexes; the largest first."""

    table: str
    parts: tuple[tuple[str, float], ...]

    @property
    def bytes(self) -> float:
        """All of it."""
        return sum(size for _, size in self.parts)


def _print(kind: str, seconds: float, each: Mapping[tuple[str, str], float]) -> None:
    of_table: dict[str, list[tuple[str, float]]] = defaultdict(list)
    for (table, name), size in each.items():
        of_table[table].append((name, size))
    taken = sorted(
        (Taken(table, tuple(sorted(parts, key=lambda part: -part[1]))) for table, parts in of_table.items()),
        key=lambda one: -one.bytes,
    )
    print(f"\n{kind + f', a recording of {seconds:g} s':44}{'bytes a job':>12}")
    for one in taken:
        if one.bytes >= 1:
            print(f"{one.table:44}{one.bytes:12,.0f}")
            for name, size in one.parts if len(one.parts) > 1 else ():
                print(f"    {name:40}{size:12,.0f}")
    content = sum(one.bytes for one in taken if one.table in CONTENT)
    total = sum(one.bytes for one in taken)
    print(f"{'all':44}{total:12,.0f}\n{'all but what was said':44}{total - content:12,.0f}", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
