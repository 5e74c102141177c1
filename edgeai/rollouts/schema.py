"""The JSON Schemas of the signed documents, from their types: ``edgeai/schemas/<kind>-1.json`` is what this prints.

``python -m edgeai.rollouts.schema rollout > edgeai/schemas/rollout-1.json``, and the same with ``approval``,
``roll-back`` and ``stop``. What they cannot say is ``mistakes``'s to refuse.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from edgeai.bundle.schema import portable
from edgeai.rollouts.document import SCHEMA, Approval, Document, RollBack, Rollout, Stop

KINDS: Final[Mapping[str, type[Document]]] = {
    "rollout": Rollout,
    "approval": Approval,
    "roll-back": RollBack,
    "stop": Stop,
}


def json_schema(name: str) -> dict[str, Any]:
    """Draft 2020-12, closed to unknown keys wherever the document is."""
    kind = KINDS[name]
    body = msgspec.json.schema(kind)
    root = body["$defs"].pop(kind.__name__)
    root["properties"]["schema"] = {"const": SCHEMA}
    root["required"] = ["schema", *root.get("required", [])]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:edgeai:schema:{name}:{SCHEMA}",
        **portable({**root, "title": f"edgeai {name}", "$defs": body["$defs"]}),
    }


if __name__ == "__main__":
    print(json.dumps(json_schema(sys.argv[1]), indent=2))
