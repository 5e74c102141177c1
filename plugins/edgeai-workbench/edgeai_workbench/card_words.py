"""How a mistake in a card is told: what to write instead, in the words in which a profile's mistakes are told."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from edgeai.config.words import Where, dotted, node_at, sentence, shown
from edgeai.toml_lines import key_lines, line_of
from edgeai_workbench.tables import ARGUMENT, DIGEST, NUMBERS, PATH, RELEASE, SLUG

_WORD = r"\A[^\x00-\x1f\x7f-\x9f]+\z"
_PATTERNS: Mapping[str, str] = {
    _WORD: "give a word or words, on one line",
    DIGEST: "give sha256: and 64 digits of 0-9 and a-f, as the training script prints it",
    ARGUMENT: "argue it in a sentence, of four words at least",
    PATH: "give a path below the card's folder, of letters, digits and _ . + / -",
    RELEASE: "use up to three numbers, e.g. 0.1",
    NUMBERS: "use three numbers, e.g. 1.0.0",
}


def mistakes(path: Path, text: str, error: ValidationError, kind: type[BaseModel]) -> list[str]:
    """``model.toml:12: task.nmae: unknown key; did you mean "name"?``, a sentence a mistake, by line."""
    lines, schema = key_lines(text), kind.model_json_schema(by_alias=True)
    numbered = []
    errors = error.errors(include_url=False)
    for item in errors:
        where = item["loc"]
        if item["type"] == "too_short" and any(
            other["loc"][: len(where)] == where for other in errors if other != item
        ):
            continue  # it is short because an item of it is wrong, which has its own line
        number = line_of(lines, where) or 1
        numbered.append((number, f"{path.name}:{number}: {dotted(where) or 'the card'}: {_told(item, where, schema)}"))
    return [told for _, told in sorted(numbered)]


def _told(item: Any, where: Where, schema: Mapping[str, Any]) -> str:
    kind, value = item["type"], item["input"]
    if kind == "missing":
        what = node_at(schema, where[:-1]).get("properties", {}).get(where[-1], {}).get("description")
        return f"missing: {what}" if what else "missing"
    if not where:
        return str(item["msg"]).removeprefix("Value error, ")
    if kind == "too_short":
        return f"it is empty: name at least one (here: {shown(value)})"
    if kind == "string_pattern_mismatch":
        return f"{_pattern(item['ctx']['pattern'], str(value))} (here: {shown(value)})"
    return sentence(item, schema)


def _pattern(pattern: str, value: str) -> str:
    if pattern != SLUG:
        return _PATTERNS[pattern]
    example = re.sub(r"[^a-z0-9._-]+", "-", value.lower()).strip("._-")[:64] or "my-model"
    return f"use a-z, 0-9, . _ and -, beginning with a letter or digit, at most 64 characters, e.g. {example}"
