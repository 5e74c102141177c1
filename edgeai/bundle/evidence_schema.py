"""The JSON Schema of ``evidence.json``, from its types: ``edgeai/schemas/evidence-1.json`` is what this prints.

``python -m edgeai.bundle.evidence_schema > edgeai/schemas/evidence-1.json``.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from edgeai.bundle.evidence import EVIDENCE_SCHEMA, Evidence
from edgeai.bundle.schema import portable


def evidence_schema() -> dict[str, Any]:
    """Draft 2020-12; open to other keys, since a newer edgeai of the same schema may add some."""
    body = msgspec.json.schema(Evidence)
    root = body["$defs"].pop("Evidence")
    root["properties"]["schema"] = {"const": EVIDENCE_SCHEMA}
    root["required"] = sorted({*root.get("required", ()), "schema"})
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:edgeai:schema:evidence:{EVIDENCE_SCHEMA}",
        **portable({**root, "title": "edgeai evidence of a model", "$defs": body["$defs"]}),
    }


if __name__ == "__main__":
    print(json.dumps(evidence_schema(), indent=2))
