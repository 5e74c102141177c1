"""Schema 2 of the manifest: read whole, refused where it contradicts itself, and run only where all of it can be."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator

from edgeai.api import BundleRejected
from edgeai.bundle.archive import pack
from edgeai.bundle.honour import not_honoured
from edgeai.bundle.manifest import Manifest, at_lowest_schema, decode_manifest, encode_manifest
from edgeai.bundle.reader import open_bundle, read_manifest, verify_bundle
from edgeai.bundle.schema import json_schema
from edgeai.bundle.uses import AbstentionUse, ClipUse, GatheringUse, GuardUse, ImageFeed, UnitUse
from edgeai.cli.inspect import rows

ABSTENTION = AbstentionUse(method="lac", risk=0.05, quantile=0.9)
SPLIT = AbstentionUse(method="split-conformal", risk=0.05, quantile=0.9, by="manufacturer", quantiles={"ACME": 0.8})
BY_KVP = "guard (abstention by the values of kvp)"
FILE = {"sha256": "0" * 64, "bytes": 3}
STATE = {"name": "state", "dtype": "float32", "shape": [1, 16]}
IMAGE = {"dtype": "float32", "shape": [1, 8, 8, 1], "layout": "NHWC"}
GUARD: dict[str, Any] = {
    "content": True,
    "model": {
        "task": {"name": "classify", "options": {"labels": ["US", "CR"]}},
        "admit": ["US"],
        "min_score": 0.9,
        "inputs": [{"name": "image", **IMAGE}],
        "outputs": [{"name": "scores", "dtype": "float32", "shape": [1, 2]}],
        "artifacts": [{"id": "g", "format": "tflite", "precision": "int8", "path": "guard/g.tflite"}],
        "golden": [{"id": "g", "inputs": {"image": "golden/i.npy"}, "outputs": {"scores": "golden/o.npy"}}],
    },
    "distance": {
        "output": "features",
        "method": "mahalanobis",
        "parameters": "guard/distance.npz",
        "threshold": 4.5,
        "true_accept": 0.98,
    },
    "abstention": {
        "method": "lac",
        "risk": 0.05,
        "quantile": 0.9,
        "by": "view_position",
        "quantiles": {"PA": 0.91},
    },
}
FEEDS: dict[str, Any] = {
    "frontal": {"source": "image", "eligibility": {"view_position": ["PA", "AP"]}},
    "lateral": {
        "source": "image",
        "eligibility": {"view_position": ["LL"], "laterality": ["L"]},
        "transforms": [{"transform": "grey"}],
        "required": False,
    },
    "acquired": {
        "source": "attributes",
        "attributes": [
            {"keyword": "kvp", "offset": 40.0, "scale": 0.01, "absent": 0.5},
            {"keyword": "view_position", "encode": "one-hot", "values": ["PA", "AP"]},
            {"keyword": "patient_age", "scale": 0.01},
        ],
    },
    "state": {"source": "state", "output": "next_state"},
}
BODY: dict[str, Any] = {
    "schema": 2,
    "name": "all-of-it",
    "version": "1.0.0",
    "release": 1,
    "min_edgeai": "0.1",
    "intended_use": "Tests.",
    "licence": "Apache-2.0",
    "plugins": ["transforms", "tasks"],
    "task": {"name": "classify", "options": {"labels": ["a", "b"]}},
    "inputs": [
        {"name": "frontal", **IMAGE},
        {"name": "lateral", **IMAGE},
        {"name": "acquired", "dtype": "float32", "shape": [1, 4]},
        STATE,
    ],
    "outputs": [
        {"name": "scores", "dtype": "float32", "shape": [1, 2]},
        {"name": "features", "dtype": "float32", "shape": [1, 64]},
        {"name": "map", "dtype": "float32", "shape": [1, 8, 8, 1], "layout": "NHWC"},
        {**STATE, "name": "next_state"},
    ],
    "artifacts": [{"id": "t", "format": "tflite", "precision": "fp32", "path": "artifacts/m.tflite"}],
    "unit": {"kind": "study", "gathering": {"timeout_s": 600.0, "missing": "declare"}},
    "feeds": FEEDS,
    "guard": GUARD,
    "explanations": [{"output": "map", "method": "grad-cam", "label": "a"}],
    "evidence": "evidence.json",
    "change_control": "pccp.json",
    "files": dict.fromkeys(
        (
            *("artifacts/m.tflite", "guard/g.tflite", "guard/distance.npz", "golden/i.npy", "golden/o.npy"),
            *("evidence.json", "pccp.json"),
        ),
        FILE,
    ),
}
PLAIN: dict[str, Any] = {
    **{key: value for key, value in BODY.items() if key not in ("unit", "feeds", "guard", "explanations")},
    "inputs": [{"name": "image", **IMAGE}],
    "outputs": BODY["outputs"][:1],
}


def changed(place: str, value: object, body: dict[str, Any] = BODY) -> dict[str, Any]:
    """The body with another value at a dotted place; ``...`` takes the key away."""
    result = copy.deepcopy(body)
    *way, last = place.split(".")
    node: Any = result
    for step in way:
        node = node[int(step)] if isinstance(node, list) else node[step]
    if value is ...:
        del node[last]
    else:
        node[int(last) if isinstance(node, list) else last] = value
    return result


def read(body: dict[str, Any]) -> Manifest:
    return decode_manifest(json.dumps(body).encode())


def refusal(body: dict[str, Any]) -> BundleRejected:
    with pytest.raises(BundleRejected) as caught:
        read(body)
    return caught.value


def test_all_of_it_survives_the_round_trip_and_is_canonical() -> None:
    manifest = read(BODY)
    data = encode_manifest(manifest)
    assert decode_manifest(data) == manifest
    assert json.dumps(json.loads(data), sort_keys=True, separators=(",", ":")).encode() == data
    assert set(json.loads(data)) == set(Manifest.__struct_fields__), "every field is written"
    assert manifest.feeds["lateral"] != ImageFeed()
    assert manifest.guard is not None
    assert manifest.guard.stages == ("content", "model", "distance", "abstention")


def test_the_published_schema_takes_it_and_one_of_each_part_alone() -> None:
    validator = Draft202012Validator(json_schema(2))
    validator.validate(BODY)
    validator.validate(PLAIN)
    assert not Draft202012Validator(json_schema(1)).is_valid(BODY)


@pytest.mark.parametrize(
    "body",
    [
        changed("colour", "red"),
        changed("guard.colour", "red"),
        changed("guard.model.colour", "red"),
        changed("feeds.state.colour", "red"),
        changed("feeds.frontal.eligibility.colour", ["red"]),
        changed("unit.kind", "patient"),
        changed("unit.gathering.timeout_s", 0),
        changed("unit.gathering.missing", "guess"),
        changed("feeds.frontal.source", "hearsay"),
        changed("feeds.frontal.source", ...),
        changed("feeds.acquired.attributes", []),
        changed("feeds.acquired.attributes.0.keyword", "patient_name"),
        changed("guard.model.admit", []),
        changed("guard.model.min_score", 1.5),
        changed("guard.distance.true_accept", -0.1),
        changed("guard.abstention.risk", 2),
        changed("explanations.0.method", ""),
        changed("evidence", ""),
        changed("schema", ..., PLAIN),
        changed("schema", 1, PLAIN),
        changed("schema", 3, PLAIN),
        changed("schema", 3.0, PLAIN),
        changed("schema", True, PLAIN),
    ],
)
def test_schema_and_reader_refuse_alike(body: dict[str, Any]) -> None:
    assert not Draft202012Validator(json_schema(2)).is_valid(body)
    assert refusal(body).code in ("bundle.unknown-key", "bundle.invalid-manifest", "bundle.unknown-schema")


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (changed("unit", {"kind": "clip"}), "clip"),
        (changed("unit", {"kind": "frame", "clip": {"frames": 8}}), "clip"),
        (changed("unit", {"kind": "series"}), "gathering"),
        (changed("unit", {"kind": "clip", "clip": {"frames": 8, "source": "series"}}), "gathering"),
        (changed("unit", {"kind": "clip", "clip": {"frames": 8}, "gathering": {"timeout_s": 9}}), "gathering"),
        (changed("feeds.other", FEEDS["frontal"]), "other is no input"),
        (changed("feeds.frontal", ...), "frontal"),
        (changed("feeds.frontal.required", False), "must be there"),
        (changed("unit", {"kind": "frame"}), "gathered"),
        (changed("feeds.state.output", "nowhere"), "nowhere"),
        (changed("feeds.state.output", "features"), "features"),
        (changed("feeds.acquired.attributes.0.encode", "one-hot"), "kvp"),
        (changed("feeds.acquired.attributes.0.scale", 0.0), "kvp"),
        (changed("feeds.acquired.attributes.0.values", ["a"]), "kvp"),
        (changed("feeds.acquired.attributes.1.encode", "number"), "view_position"),
        (changed("feeds.acquired.attributes.1.values", []), "view_position"),
        (changed("feeds.acquired.attributes.1.values", ["PA", "PA"]), "view_position"),
        (changed("feeds.acquired.attributes.1.offset", 1.0), "view_position"),
        (changed("feeds.acquired.attributes.1.values", ["PA", "AP", "LL"]), "5 numbers"),
        (changed("feeds.acquired.attributes.2.keyword", "kvp"), "twice"),
        (changed("guard.model.admit", ["US", "US"]), "twice"),
        (changed("guard.abstention.by", None), "go together"),
        (changed("guard.abstention.quantiles", {}), "go together"),
        (changed("guard.model.golden.0.inputs", {"other": "golden/i.npy"}), "golden"),
        (changed("guard.model.inputs.0.dtype", "complex64"), "complex64"),
        (changed("guard.distance.output", "nowhere"), "nowhere"),
        (changed("guard.distance.output", "next_state"), "twice"),
        (changed("explanations.0.output", "nowhere"), "nowhere"),
        (changed("explanations.0.output", "features"), "twice"),
        (
            changed("outputs.0.name", "scores", changed("explanations", [{"output": "map", "method": "cam"}] * 2)),
            "twice",
        ),
        (
            changed("guard", {"distance": {**GUARD["distance"], "output": "scores"}}, PLAIN),
            "no output is left",
        ),
    ],
)
def test_what_contradicts_itself_is_refused(body: dict[str, Any], why: str) -> None:
    error = refusal(body)
    assert error.code == "bundle.invalid-manifest"
    assert why in str(error)


@pytest.mark.parametrize("path", ["guard/g.tflite", "guard/distance.npz", "golden/o.npy", "evidence.json", "pccp.json"])
def test_each_file_that_it_names_must_be_there(path: str) -> None:
    files = {name: file for name, file in BODY["files"].items() if name != path}
    assert refusal({**BODY, "files": files}).code == "bundle.missing-file"


def test_a_manifest_of_schema_1_has_no_word_for_it() -> None:
    for key in ("unit", "feeds", "guard", "explanations", "evidence", "change_control"):
        assert refusal({**PLAIN, "schema": 1, key: BODY[key]}).code == "bundle.unknown-key"
    with pytest.raises(BundleRejected) as caught:
        encode_manifest(msgspec.structs.replace(read(PLAIN), schema=1))
    assert "evidence" in str(caught.value), "it is not left out in silence"


@pytest.mark.parametrize(
    ("changes", "lacking"),
    [
        ({}, ()),
        ({"feeds": {"image": ImageFeed()}}, ()),
        ({"guard": GuardUse(content=False)}, ()),
        ({"guard": GuardUse()}, ()),
        ({"guard": GuardUse(content=False, abstention=ABSTENTION)}, ("guard (abstention by lac)",)),
        ({"guard": GuardUse(abstention=SPLIT)}, ()),
        ({"guard": GuardUse(abstention=msgspec.structs.replace(SPLIT, by="kvp"))}, (BY_KVP,)),
        (
            {"feeds": {"image": ImageFeed(transforms=read(BODY).feeds["lateral"].transforms)}},
            ("input image from image",),
        ),  # type: ignore[union-attr]
        ({"unit": UnitUse(kind="clip", clip=ClipUse(frames=8))}, ("unit clip",)),
        ({"unit": UnitUse(kind="series", gathering=GatheringUse(timeout_s=9))}, ("unit series",)),
        ({"explanations": read(BODY).explanations}, ("explanations",)),
    ],
)
def test_what_this_edgeai_cannot_do_is_said_part_by_part(changes: dict[str, Any], lacking: tuple[str, ...]) -> None:
    assert not_honoured(msgspec.structs.replace(read(PLAIN), **changes)) == lacking


def test_several_plain_images_are_more_than_one_image_gives() -> None:
    two = {
        **PLAIN,
        "inputs": BODY["inputs"][:2],
        "feeds": {name: {"source": "image"} for name in ("frontal", "lateral")},
    }
    assert not_honoured(read(two)) == ("input frontal from image", "input lateral from image")


def content(folder: Path) -> Path:
    for path in BODY["files"]:
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(b"abc")
    return folder


@pytest.mark.parametrize("unpacked", [False, True])
def test_what_cannot_be_honoured_is_read_and_never_run(tmp_path: Path, unpacked: bool) -> None:
    path = content(tmp_path / "content")
    digest = pack(path, read(BODY), tmp_path / "x.edgeai")
    if unpacked:
        (path / "manifest.json").write_bytes(verify_bundle(tmp_path / "x.edgeai").manifest_bytes)
    else:
        path = tmp_path / "x.edgeai"
    assert verify_bundle(path).digest == digest
    for act in (lambda: open_bundle(path, cache_dir=tmp_path / "cache"), lambda: read_manifest(path)):
        with pytest.raises(BundleRejected) as caught:
            act()
        assert caught.value.code == "bundle.not-honoured"
        for word in ("unit study", "input state from state", "guard (abstention by lac)"):
            assert word in str(caught.value)
    assert not (tmp_path / "cache").exists(), "it is not unpacked"


def test_documents_alone_stop_nobody(tmp_path: Path) -> None:
    pack(content(tmp_path / "content"), read(PLAIN), tmp_path / "x.edgeai")
    bundle = open_bundle(tmp_path / "x.edgeai", cache_dir=tmp_path / "cache")
    assert (bundle.manifest.evidence, bundle.manifest.change_control) == ("evidence.json", "pccp.json")


def test_the_lowest_schema_is_taken_that_says_all() -> None:
    everything, plain = read(BODY), read(PLAIN)
    assert at_lowest_schema(everything) == everything
    assert at_lowest_schema(plain).schema == 2, "change control is to be enforced"
    evidence_alone = msgspec.structs.replace(plain, change_control=None)
    lowest = at_lowest_schema(evidence_alone)
    assert (lowest.schema, lowest.evidence, lowest.evidence_path) == (1, None, "evidence.json")
    assert decode_manifest(encode_manifest(lowest)) == lowest
    elsewhere = msgspec.structs.replace(evidence_alone, evidence="pccp.json")
    assert at_lowest_schema(elsewhere) == elsewhere, "nobody would find it under another name"
    assert at_lowest_schema(msgspec.structs.replace(lowest, files={})).evidence_path is None


def test_inspect_shows_all_of_it_and_whether_it_runs_here() -> None:
    table = [f"{name}: {value}" for name, value in rows(read(BODY), "sha256:0", [])]
    text = "\n".join(table)
    for words in (
        f"evidence: evidence.json, sha256:{'0' * 64}",
        f"change control: pccp.json, sha256:{'0' * 64}",
        'answers about: a study gathering={"timeout_s": 600.0, "missing": "declare"}',
        'frontal: image eligibility={"view_position": ["PA", "AP"]}',
        'acquired: attributes attributes=[{"keyword": "kvp"',
        'state: state output="next_state"',
        "guard: content\n: model task=",
        'distance output="features", method="mahalanobis"',
        "explanations: map: grad-cam of a",
        "runs here: no, this edgeai cannot do: unit study",
    ):
        assert words in text
    assert "runs here: yes" in "\n".join(f"{name}: {value}" for name, value in rows(read(PLAIN), "sha256:0", []))
    first = {**PLAIN, "schema": 1}
    first = {key: value for key, value in first.items() if key not in ("evidence", "change_control")}
    names = [name for name, _ in rows(read(first), "sha256:0", [])]
    assert "evidence" in names
    assert "guard" not in names
