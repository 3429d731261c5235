"""Writes docs/openapi.json and the generated parts of docs/*.md: `make docs`.

A part begins with `<!-- made by make docs: NAME -->` and ends with `<!-- end -->`; what lies between is replaced. The
commands come from the command line itself, the JSON from docs/schemas, the settings from `dropscribe.core.settings`
and the engines, the names that changed from `dropscribe.core.old_names`, the decisions from their pages.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from dropscribe.admin.cli.main import COMMANDS
from dropscribe.core import old_names
from dropscribe.core.engine_settings import engine_groups, groups
from dropscribe.core.engines import choices
from dropscribe.core.settings import fields, variable
from dropscribe.serve.app import bare, schema
from dropscribe.store import transitions
from dropscribe.store.transitions import Transition

DOCS = Path(__file__).parent
SCHEMAS = DOCS / "schemas"
# In the order in which they are described.
TOLD = (
    "error job jobs show submit progress changed paused drained "
    "search export speakers worker workers status line logs rerun forget backup restore "
    "doctor config plan checkpoint models-list models-convert models-quantize models-export models-validate voice "
    "voices-list voices-enroll token token-list token-create token-revoke"
).split()
# Those of the server alone, which docs/api.md describes.
OF_SERVER = (
    *("job-page", "job-files", "job-rerun", "segments", "revisions", "revision"),
    *("server-status", "server-folders", "server-voices"),
)
OPENAPI = DOCS / "openapi.json"
_PART = re.compile(r"(<!-- made by make docs: (?P<name>\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def commands() -> str:
    """Every command with its usage, its options and examples, by panel."""
    return "\n".join(_command_lines(COMMANDS, "dropscribe", 2))


def _command_lines(commands: Mapping[str, Any], path: str, level: int) -> Iterator[str]:
    panel = None
    for name, command in commands.items():
        if hasattr(command, "commands"):
            yield f"{'#' * level} {name.capitalize()}\n\n{_prose(command.help)}\n"
            yield from _command_lines(command.commands, f"{path} {name}", level)
            continue
        if command.rich_help_panel and command.rich_help_panel != panel:
            panel = command.rich_help_panel
            yield f"{'#' * level} {panel}\n"
        yield from _one_command(command, f"{path} {name}", level + 1)


def _one_command(command: Any, path: str, level: int) -> Iterator[str]:
    context = command.context_class(command, info_name=path)
    yield f"{'#' * level} {path}\n"
    yield f"```text\n{path} {' '.join(command.collect_usage_pieces(context))}\n```\n"
    yield _prose(command.help) + "\n"
    records = [param.get_help_record(context) for param in command.get_params(context) if "--help" not in param.opts]
    rows = [_row(f"`{names}`", " ".join(what.split())) for names, what in records]
    yield "\n".join(["| | |", "| --- | --- |", *rows]) + "\n"
    examples = [line.strip() for line in (command.epilog or "").splitlines() if line.startswith("  ")]
    yield "\n".join(["```bash", *examples, "```"]) + "\n"


def _prose(text: str | None) -> str:
    """A docstring as paragraphs of one line each."""
    return "\n\n".join(" ".join(part.split()) for part in (text or "").split("\n\n"))


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def schemas() -> str:
    """Every JSON document, by its schema."""
    return "\n".join(_document(name) for name in TOLD)


def server_schemas() -> str:
    """The JSON documents that only the server answers with."""
    return "\n".join(map(_document, OF_SERVER)).replace("](#", "](cli.md#")


def routes() -> str:
    """Every route of the server: method, path, what it does."""
    rows = [
        _row(f"`{method.upper()} {path}`", operation["description"])
        for path, operations in openapi()["paths"].items()
        for method, operation in operations.items()
    ]
    return "\n".join(["| | |", "| --- | --- |", *rows]) + "\n"


def openapi() -> dict[str, Any]:
    """The schema of the server's API, in which answers refer to docs/schemas."""
    found: dict[str, Any] = json.loads(json.dumps(schema(bare())), object_hook=_referring)
    return found


def _referring(part: dict[str, Any]) -> dict[str, Any]:
    name = part.get("title")
    return {"$ref": f"schemas/{name}.json"} if [*part] == ["title"] and name in {*TOLD, *OF_SERVER} else part


def _read(name: str) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads((SCHEMAS / f"{name}.json").read_text(encoding="utf-8"))
    return schema


def _document(name: str) -> str:
    schema = _read(name)
    told = [f"### {schema['title']}\n", f"{schema['description']} [Schema](schemas/{name}.json).\n"]
    for one in filter(_has_fields, schema.get("oneOf", [schema])):
        fields = [_row(f"`{field}`", _kind(what), what.get("description", "")) for field, what in _fields(one)]
        told.append("\n".join(["| Field | | |", "| --- | --- | --- |", *fields]) + "\n")
    return "\n".join(told)


def _has_fields(schema: dict[str, Any]) -> bool:
    """False for another schema, which is described where it stands."""
    return "$ref" not in schema


def _fields(schema: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every field with its schema, those of nested objects too: `parts[].name`."""
    for name, what in schema.get("properties", {}).items():
        yield prefix + name, what
        inner = what.get("items", what)
        yield from _fields(inner, f"{prefix}{name}{'[]' if inner is not what else ''}.")


def _kind(what: dict[str, Any]) -> str:
    """What a field holds, for people."""
    if "const" in what:
        return f"`{what['const']}`"
    if "enum" in what:
        return " ".join(f"`{value}`" for value in what["enum"])
    if "$ref" in what:
        title = _read(what["$ref"].removesuffix(".json"))["title"]
        return f"[{title.replace('`', '')}](#{_anchor(title)})"
    kinds = what["type"] if isinstance(what["type"], list) else [what["type"]]
    if kinds == ["array"]:
        inner = what["items"]
        return "list of objects" if "properties" in inner else f"list of {_kind(inner)}"
    return " or ".join(kind if kind != "null" else "`null`" for kind in kinds)


def _anchor(title: str) -> str:
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def settings() -> str:
    """Every setting: its variable, what it takes, its default; those of a group in a section of their own."""
    told = [_settings_table({name: field for name, field in fields().items() if "." not in name})]
    for table, group in groups().items():
        own = {name: field for name, field in fields().items() if name.startswith(f"{table}.")}
        title = f"Settings of the engine {table}" if table in engine_groups() else f"The table {table}"
        told.append(f"## {title}\n\n{_prose(group.__doc__)}\n\n{_settings_table(own)}")
    return "\n".join(told)


def _settings_table(named: dict[str, FieldInfo]) -> str:
    rows = [
        _row(
            f"`{name.rpartition('.')[2]}`<br>`{variable(name)}`",
            " ".join(f"`{choice}`" for choice in choices()) if name == "engine" else _takes(field.annotation),
            _default(field),
            field.description or "",
        )
        for name, field in named.items()
    ]
    return "\n".join(["| Setting, variable | Takes | Default | |", "| --- | --- | --- | --- |", *rows]) + "\n"


def _takes(annotation: Any) -> str:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _takes(inner[0])
    if origin in (Union, UnionType):
        return _takes(next(one for one in inner if one is not NoneType))
    if origin is Literal:
        return " ".join(f"`{value}`" for value in inner)
    if origin is tuple:
        return f"some of {_takes(inner[0])}"
    if hasattr(annotation, "__members__"):
        return " ".join(f"`{value}`" for value in annotation)
    return {bool: "`true` `false`", int: "whole number", float: "number", Path: "path", str: "text"}[annotation]


def _default(field: Any) -> str:
    if field.default_factory is not None:
        return "`~/.local/state/dropscribe`"
    value = field.default
    shown = (
        ",".join(value) if isinstance(value, tuple) else str(value).lower() if isinstance(value, bool) else str(value)
    )
    return "" if value is None or value == "" else f"`{shown}`"


def decisions() -> str:
    """Every decision by its title, a link to its page."""
    pages = sorted((DOCS / "decisions").glob("[0-9]*.md"))
    titles = (re.sub(r"^# \d+\.? ", "", page.read_text(encoding="utf-8").splitlines()[0]) for page in pages)
    rows = [_row(page.name[:4], f"[{title}]({page.name})") for page, title in zip(pages, titles, strict=True)]
    return "\n".join(["| | |", "| --- | --- |", *rows]) + "\n"


def names() -> str:
    """Every name that changed: the old one, the new one, where it stands, until when the old one works."""
    rows = [_row(f"`{old}`", f"`{new}`", where, until) for old, new, where, until in _changes()]
    return "\n".join(["| Old name | New name | Where | The old one works |", "| --- | --- | --- | --- |", *rows]) + "\n"


def _changes() -> Iterator[tuple[str, str, str, str]]:
    """Old name, new name, where, and how long the old one works."""
    soon, schema, gone = f"until {old_names.UNTIL}", "as long as `schema` ends with `/1`", "no longer"
    for old, new in old_names.SETTINGS.items():
        yield old, new, "setting, and its environment variable", soon
    for setting, values in old_names.VALUES.items():
        for old, new in values.items():
            yield f'{setting} = "{old}"', f'{setting} = "{new}"', "setting, also of a folder", soon
    for setting, values in old_names.GONE.items():
        for old, new in values.items():
            yield f'{setting} = "{old}"', f'{setting} = "{new}"', "setting, also of a folder", gone
    for table, prefix, where, until in (
        (old_names.TRANSCRIPT, "", "transcript in JSON", schema),
        (old_names.SPEAKER, "speakers[].", "transcript in JSON", schema),
        (old_names.SEGMENT, "segments[].", "transcript in JSON", schema),
        (old_names.TRANSCRIPT, "Transcript.", "Python", soon),
        (old_names.SPEAKER, "Speaker.", "Python", soon),
        (old_names.SEGMENT, "Segment.", "Python", soon),
        (old_names.SPEAKER, "speakers[].", "`speakers --json`", soon),
        (old_names.JOB, "", "a job in JSON: `jobs`, `show`, `submit`", soon),
        (old_names.WORK, "work[].", "a worker in JSON: `workers`, `status`", soon),
        (old_names.NOTIFICATION, "", "notification", soon),
        (old_names.METRICS, "", "metric", soon),
        (old_names.EVENTS, "", "kind of event: `show --json` has the old one as `old_kind`", soon),
        (old_names.CHECKS, "", "quality check in events, and in the label of the new metric", gone),
        (old_names.STEPS, "", "step: `show --json` and `workers --json` have the old one as `old_step`", soon),
    ):
        for old, new in table.items():
            yield prefix + old, prefix + new, where, until


def states() -> str:
    """Every transition of jobs and of chunks."""
    return "\n".join([*_life("a job", transitions.JOBS), "", *_life("a chunk", transitions.CHUNKS)])


def _life(what: str, table: Mapping[str, Transition]) -> Iterator[str]:
    yield from (_row(f"What happens to {what}", "When", "From", "To"), _row("---", "---", "---", "---"))
    for event, made in table.items():
        for before, after in _grouped(made):
            yield _row(f"`{event}`", made.means, _states(before), _states(after))


def _grouped(made: Transition) -> list[tuple[list[str], list[str]]]:
    """From which states it leads where; states that lead to the same ones together."""
    leads = dict[tuple[str, ...], list[str]]()
    for before, after in made.moves.items():
        leads.setdefault(after, []).append(before)
    return [(before, list(after)) for after, before in leads.items()]


def _states(states: Sequence[str]) -> str:
    return ", ".join(f"`{state}`" for state in states)


PARTS = {
    "routes": routes,
    "server_schemas": server_schemas,
    "commands": commands,
    "schemas": schemas,
    "settings": settings,
    "decisions": decisions,
    "names": names,
    "states": states,
}


def filled(text: str) -> str:
    """A document with its generated parts as they are to be."""
    return _PART.sub(lambda part: f"{part[1]}\n{PARTS[part['name']]()}\n{part[3]}", text)


def generated() -> list[Path]:
    """The documents that have such parts."""
    return [path for path in sorted(DOCS.rglob("*.md")) if _PART.search(path.read_text(encoding="utf-8"))]


def main() -> int:
    """Fill all documents in."""
    OPENAPI.write_text(json.dumps(openapi(), indent=2) + "\n", encoding="utf-8")
    for path in generated():
        path.write_text(filled(path.read_text(encoding="utf-8")), encoding="utf-8")
        sys.stdout.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
