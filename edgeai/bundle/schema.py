"""The JSON Schema of a manifest, from its types: ``edgeai/schemas/manifest-2.json`` is what this prints.

``python -m edgeai.bundle.schema 2 > edgeai/schemas/manifest-2.json``, the same with 1, and with ``pccp`` that of
change control. A schema cannot say everything: paths that collide, names that are there twice, files that are missing
and uses that contradict one another are ``check_manifest``'s to refuse.
"""

from __future__ import annotations

import inspect
import json
import sys
from typing import Any

import msgspec

from edgeai.bundle.manifest import MANIFEST_SCHEMAS, Manifest, Manifest1


def json_schema(number: int = MANIFEST_SCHEMAS[-1]) -> dict[str, Any]:
    """Draft 2020-12, closed to unknown keys wherever the manifest is; ``number`` is that of the manifest's schema."""
    kind = Manifest1 if number == 1 else Manifest
    body = msgspec.json.schema(kind)
    root = body["$defs"].pop(kind.__name__)
    root["properties"]["schema"] = {"const": number}
    if number == 1:  # one without a number is of the first schema
        root["properties"]["schema"]["default"] = 1
    else:
        root["required"] = ["schema", *root["required"]]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:edgeai:schema:manifest:{number}",
        **portable({**root, "title": "edgeai bundle manifest", "$defs": body["$defs"]}),
    }


def portable(node: Any) -> Any:
    """Python's anchors as those of ECMA 262, which the standard asks for; docstrings as running text."""
    if isinstance(node, list | tuple):
        return [portable(item) for item in node]
    if not isinstance(node, dict):
        return node
    plain = {name: portable(value) for name, value in node.items()}
    if isinstance(plain.get("pattern"), str):
        plain["pattern"] = plain["pattern"].replace(r"\A", "^").replace(r"\Z", "$")
    if isinstance(plain.get("description"), str):
        plain["description"] = " ".join(inspect.cleandoc(plain["description"]).replace("``", "`").split())
    return plain


if __name__ == "__main__":
    if sys.argv[1:2] == ["pccp"]:
        from edgeai.bundle.change_control import change_control_schema

        print(json.dumps(change_control_schema(), indent=2))
    else:
        print(json.dumps(json_schema(*(int(word) for word in sys.argv[1:2])), indent=2))
