"""The bill of materials: valid CycloneDX 1.6, of the folder alone, with the licences that were found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from email.message import Message
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from edgeai_workbench.card import Card, read_card
from edgeai_workbench.convert import Artifact
from edgeai_workbench.sbom import licence_text, sbom_of
from edgeai_workbench.tools import Tool, licence_of, tools_of

DIGEST = "sha256:" + "ab" * 32
ARTIFACT = Artifact(
    id="tflite-int8",
    format="tflite",
    precision="int8",
    path="model.tflite",
    parent=DIGEST,
    recipe={},
    converter="edgeai-tflite 0.1.0",
    tools={
        "tensorflow": Tool(version="2.21.0", licence="Apache-2.0"),
        "numpy": Tool(version="2.0", licence="BSD License"),
    },
)


CARD = f"""
schema = 1
name = "double"
version = "2.1.0"
release = 4
min_edgeai = "0.1"
intended_use = "a test"
limits = ["everything"]
licence = "Apache-2.0"
model = "double.keras"
model_digest = "{DIGEST}"
plugins = []
task = {{ name = "classify" }}
inputs = [{{ name = "x", shape = [1, 3] }}]
outputs = [{{ name = "y", shape = [1, 3] }}]
recipes = [{{ converter = "tflite", precision = "int8" }}]

[[data]]
name = "films"
source = "an archive of films, with an umlaut: Köln"
licence = "CC-BY-4.0"
use = "train"
digest = "{DIGEST}"

[[data]]
name = "phantoms"
source = "drawn"
licence = "as their makers say: anything (2026)"
use = "evaluate"

[training]
command = "true"
seed = 1
environment = {{ keras = "3.15.0" }}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "double").mkdir()
    (tmp_path / "double" / "model.toml").write_text(CARD, encoding="utf-8")
    return tmp_path / "double"


@pytest.fixture
def card(folder: Path) -> Card:
    return read_card(folder)


def body(card: Card, *artifacts: Artifact) -> dict[str, Any]:
    data = sbom_of(card, artifacts)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(data.decode()) is None
    return json.loads(data)  # type: ignore[no-any-return]


def test_it_names_model_data_artifact_and_tools(card: Card) -> None:
    listed = body(card, ARTIFACT)
    model = listed["metadata"]["component"]
    assert (model["type"], model["name"], model["version"]) == (
        "machine-learning-model",
        card.name,
        card.version,
    )
    assert model["hashes"] == [{"alg": "SHA-256", "content": card.model_digest.removeprefix("sha256:")}]
    parts = {part["bom-ref"]: part for part in listed["components"]}
    assert {f"data:{item.name}" for item in card.data} == {ref for ref in parts if ref.startswith("data:")}
    assert parts["pkg:pypi/tensorflow@2.21.0"]["licenses"] == [{"license": {"id": "Apache-2.0"}}]
    assert parts["pkg:pypi/tensorflow@2.21.0"]["scope"] == "excluded"
    artifact = {item["name"]: item["value"] for item in parts["artifact:tflite-int8"]["properties"]}
    assert artifact["edgeai:precision"] == "int8"
    needs = {item["ref"]: item.get("dependsOn", []) for item in listed["dependencies"]}
    assert set(needs["artifact:tflite-int8"]) == {
        model["bom-ref"],
        *(f"pkg:pypi/{t}" for t in ("numpy@2.0", "tensorflow@2.21.0")),
    }
    assert set(needs[model["bom-ref"]]) == {"data:films", "data:phantoms", "pkg:pypi/keras@3.15.0"}
    assert parts["data:films"]["licenses"] == [{"license": {"id": "CC-BY-4.0"}}]
    assert parts["data:phantoms"]["licenses"] == [{"license": {"name": "as their makers say: anything (2026)"}}]


def test_two_versions_of_one_tool_are_two(card: Card) -> None:
    other = msgspec.structs.replace(
        ARTIFACT, id="openvino-int8", tools={"numpy": Tool(version="2.1", licence="BSD License")}
    )
    refs = {part["bom-ref"] for part in body(card, ARTIFACT, other)["components"]}
    assert {"pkg:pypi/numpy@2.0", "pkg:pypi/numpy@2.1"} <= refs


def test_an_artifact_of_unknown_tools_still_names_its_converter(card: Card) -> None:
    refs = {part["bom-ref"] for part in body(card, msgspec.structs.replace(ARTIFACT, tools={}))["components"]}
    assert "pkg:pypi/edgeai-tflite@0.1.0" in refs


@pytest.mark.slow
def test_other_processes_write_the_same_bytes(card: Card, folder: Path) -> None:
    code = (
        "import sys, msgspec; from pathlib import Path; from edgeai_workbench.card import read_card;"
        "from edgeai_workbench.convert import Artifact; from edgeai_workbench.sbom import sbom_of;"
        "artifact = msgspec.json.decode(sys.argv[2], type=Artifact);"
        "sys.stdout.buffer.write(sbom_of(read_card(Path(sys.argv[1])), [artifact]))"
    )
    arguments = [str(folder), msgspec.json.encode(ARTIFACT).decode()]
    digests = {
        subprocess.run(
            [sys.executable, "-c", code, *arguments],
            env={**os.environ, "PYTHONHASHSEED": seed, "LC_ALL": locale, "TZ": zone},
            capture_output=True,
            check=True,
        ).stdout
        for seed, locale, zone in (("1", "C", "UTC"), ("2", "de_DE.UTF-8", "Asia/Tokyo"))
    }
    assert digests == {sbom_of(card, [ARTIFACT])}


def test_the_serial_number_follows_the_content(card: Card) -> None:
    other = msgspec.structs.replace(ARTIFACT, precision="fp32")
    assert body(card, ARTIFACT)["serialNumber"] != body(card, other)["serialNumber"]
    assert "timestamp" not in body(card, ARTIFACT)["metadata"]


def test_tools_are_the_closure_of_what_is_installed() -> None:
    listed = tools_of(["edgeai", "no-such-distribution"], extras=())
    assert {"edgeai", "msgspec", "pydicom", "pydantic-core"} <= set(listed)  # the last is pydantic's own
    assert "no-such-distribution" not in listed
    assert listed["edgeai"].licence == "Apache-2.0"
    assert "scikit-learn" not in listed
    assert "scikit-learn" in tools_of(["edgeai"], extras=("build",))


@pytest.mark.parametrize(
    ("headers", "licence"),
    [
        ([("License-Expression", "MIT OR Apache-2.0"), ("License", "other")], "MIT OR Apache-2.0"),
        ([("Classifier", "License :: OSI Approved :: BSD License")], "BSD License"),
        ([("Classifier", "License :: OSI Approved"), ("License", "MIT")], "MIT"),
        ([("License", "x" * 5000)], "unknown"),
        ([("License", "a\nwhole\ntext")], "unknown"),
        ([], "unknown"),
    ],
)
def test_licences_are_found_where_they_stand(headers: list[tuple[str, str]], licence: str) -> None:
    class Installed:
        metadata = Message()

    Installed.metadata = Message()
    for name, value in headers:
        Installed.metadata[name] = value
    assert licence_of(Installed()) == licence  # type: ignore[arg-type]


def test_the_licence_text_is_the_folders_own_or_apaches(card: Card, tmp_path: Path) -> None:
    assert b"Apache License" in (licence_text(card, tmp_path) or b"")
    (tmp_path / "LICENSE").write_text("Ours.")
    assert licence_text(card, tmp_path) == b"Ours."
    assert licence_text(card.model_copy(update={"licence": "LicenseRef-x"}), tmp_path / "none") is None
