"""Holds what commands print to the schemas in docs/schemas; more strictly than a program may: nothing is untold."""

from __future__ import annotations

import json
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from docs.reference import SCHEMAS

CLOSED = {"unevaluatedProperties": False}


def _strict(schema: Any, *, root: bool = False) -> Any:
    """With every object closed but the outermost, of which another may be made."""
    if isinstance(schema, list):
        return [_strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {key: value if key == "allOf" else _strict(value) for key, value in schema.items()}
    is_object = "$ref" in schema or ("properties" in schema and "type" in schema)
    return inner | (CLOSED if is_object and not root else {})


REGISTRY: Registry[Any] = Registry().with_resources(
    (path.name, Resource.from_contents(_strict(json.loads(path.read_text()), root=True)))
    for path in SCHEMAS.glob("*.json")
)


def conforms(document: Any, name: str) -> None:
    """Raise ValidationError of jsonschema for a document that the schema does not tell entirely."""
    Draft202012Validator({"$ref": f"{name}.json"} | CLOSED, registry=REGISTRY).validate(document)
