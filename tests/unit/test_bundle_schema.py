"""The published schema of a manifest is that of its types, and says of manifests what the reader says."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from edgeai.api import BundleRejected
from edgeai.bundle.manifest import MANIFEST_SCHEMAS, decode_manifest
from edgeai.bundle.schema import json_schema


@pytest.fixture(scope="module")
def body(repo_root: Path) -> dict[str, Any]:
    with zipfile.ZipFile(repo_root / "models/modality-guard/modality-guard-1.0.1.edgeai") as archive:
        return json.loads(archive.read("manifest.json"))  # type: ignore[no-any-return]


@pytest.mark.parametrize("number", MANIFEST_SCHEMAS)
def test_the_published_schema_is_that_of_the_types(repo_root: Path, number: int) -> None:
    published = json.loads((repo_root / f"edgeai/schemas/manifest-{number}.json").read_text())
    again = f"run: python -m edgeai.bundle.schema {number} > edgeai/schemas/manifest-{number}.json"
    assert published == json_schema(number), again


@pytest.mark.parametrize("number", MANIFEST_SCHEMAS)
def test_the_schema_is_one_and_closed(number: int) -> None:
    schema = json_schema(number)
    Draft202012Validator.check_schema(schema)
    assert schema["additionalProperties"] is False
    assert all(part["additionalProperties"] is False for part in schema["$defs"].values())
    assert "\\A" not in json.dumps(schema)


def test_a_manifest_that_ships_fits(body: dict[str, Any]) -> None:
    Draft202012Validator(json_schema(body["schema"])).validate(body)


@pytest.mark.parametrize(
    "change",
    [
        {"colour": "red"},
        {"schema": 3},
        {"name": "Not A Slug"},
        {"release": -1},
        {"release": "1"},
        {"inputs": []},
        {"min_edgeai": "soon"},
        {"frames": {"select": "last"}},
        {"pixels": {"fast": ["blurred"]}},
        {"licence": "two\nlines"},
        {"files": {"x": {"sha256": "0", "bytes": 1}}},
    ],
)
def test_schema_and_reader_refuse_alike(body: dict[str, Any], change: dict[str, Any]) -> None:
    changed = {**body, **change}
    assert not Draft202012Validator(json_schema(body["schema"])).is_valid(changed)
    with pytest.raises(BundleRejected):
        decode_manifest(json.dumps(changed).encode())


@pytest.mark.parametrize("name", ["name", "plugins", "task", "artifacts", "intended_use"])
def test_what_must_be_there_must_be_there_for_both(body: dict[str, Any], name: str) -> None:
    changed = {key: value for key, value in body.items() if key != name}
    assert not Draft202012Validator(json_schema(body["schema"])).is_valid(changed)
    with pytest.raises(BundleRejected):
        decode_manifest(json.dumps(changed).encode())
