"""The JSON Schema of the record of slots, from its types: ``edgeai/schemas/slots-1.json`` is what this prints.

``python -m edgeai.slots.schema > edgeai/schemas/slots-1.json``. What it cannot say is ``mistakes``'s to refuse.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from edgeai.bundle.schema import portable
from edgeai.slots.record import SCHEMA, Slots


def json_schema() -> dict[str, Any]:
    """Draft 2020-12, closed to unknown keys wherever the record is."""
    body = msgspec.json.schema(Slots)
    root = body["$defs"].pop("Slots")
    root["properties"]["schema"] = {"const": SCHEMA}
    root["required"] = ["schema", *root.get("required", [])]
    body["$defs"]["Move"]["properties"]["schema"] = {"const": SCHEMA, "default": SCHEMA}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:edgeai:schema:slots:{SCHEMA}",
        **portable({**root, "title": "edgeai slots of a deployment", "$defs": body["$defs"]}),
    }


if __name__ == "__main__":
    print(json.dumps(json_schema(), indent=2))
