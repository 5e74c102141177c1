"""The JSON Schema of a manifest, from its types: ``edgeai/schemas/manifest-1.json`` is what this prints.

``python -m edgeai.bundle.schema > edgeai/schemas/manifest-1.json``. A schema cannot say everything: paths that
collide, names that are there twice and files that are missing are ``check_manifest``'s to refuse.
"""

from __future__ import annotations

import inspect
import json
from typing import Any

import msgspec

from edgeai.bundle.manifest import MANIFEST_SCHEMA, Manifest


def json_schema() -> dict[str, Any]:
    """Draft 2020-12, closed to unknown keys wherever the manifest is."""
    body = msgspec.json.schema(Manifest)
    root = body["$defs"].pop("Manifest")
    root["properties"]["schema"] = {"const": MANIFEST_SCHEMA, "default": MANIFEST_SCHEMA}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:edgeai:schema:manifest:{MANIFEST_SCHEMA}",
        **_portable({**root, "title": "edgeai bundle manifest", "$defs": body["$defs"]}),
    }


def _portable(node: Any) -> Any:
    """Python's anchors as those of ECMA 262, which the standard asks for; docstrings as running text."""
    if isinstance(node, list | tuple):
        return [_portable(item) for item in node]
    if not isinstance(node, dict):
        return node
    found = {name: _portable(value) for name, value in node.items()}
    if isinstance(found.get("pattern"), str):
        found["pattern"] = found["pattern"].replace(r"\A", "^").replace(r"\Z", "$")
    if isinstance(found.get("description"), str):
        found["description"] = " ".join(inspect.cleandoc(found["description"]).replace("``", "`").split())
    return found


if __name__ == "__main__":
    print(json.dumps(json_schema(), indent=2))
