"""The generated parts of the documents are what the program says; every schema is told and sound."""

from __future__ import annotations

import json
import re

import pytest
from jsonschema import Draft202012Validator

from docs import reference


@pytest.mark.parametrize("path", reference.generated(), ids=lambda path: path.name)
def test_the_generated_parts_are_as_the_program_is(path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text == reference.filled(text), "make docs"


def test_commands_schemas_and_settings_are_told_somewhere() -> None:
    told = "".join(path.read_text(encoding="utf-8") for path in reference.generated())
    assert all(f"<!-- made by make docs: {part} -->" in told for part in reference.PARTS)


def test_every_schema_is_told_once_and_sound() -> None:
    names = sorted(path.stem for path in reference.SCHEMAS.glob("*.json"))
    assert names == sorted([*reference.TOLD, *reference.OF_SERVER])
    for name in names:
        schema = json.loads((reference.SCHEMAS / f"{name}.json").read_text())
        Draft202012Validator.check_schema(schema)
        assert schema["title"]
        assert schema["description"]


def test_the_schema_of_the_server_is_kept_in_the_documents() -> None:
    kept = json.loads(reference.OPENAPI.read_text(encoding="utf-8"))
    assert kept == reference.openapi(), "make docs"
    answers = re.findall(r'"schemas/([\w-]+)\.json"', json.dumps(kept))
    assert {*reference.OF_SERVER} <= set(answers) <= {*reference.OF_SERVER, *reference.TOLD}
