"""``edgeai fleet diff``: the words that people decide by are those that a cart decides by."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgeai.bundle.archive import Archive, pack
from edgeai.bundle.change_control import ChangeControl, Range, encode_change_control
from edgeai.bundle.manifest import Manifest, TaskUse
from edgeai.cli.main import run

REAL = next((Path(__file__).resolve().parents[3] / "models/xray-view").glob("*.edgeai"))
Text = Callable[[str], str]


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    """A reference model with figures, and a plan: weights are free, and the temperature within bounds."""
    folder = tmp_path_factory.mktemp("real") / "content"
    with Archive(REAL) as archive:
        archive.unpack(folder)
        manifest = archive.manifest
    (folder / "manifest.json").unlink()
    (folder / "signatures.json").unlink(missing_ok=True)
    plan = ChangeControl(free=("weights",), bounds={"temperature": Range(least=0.8, most=1.5)})
    (folder / "pccp.json").write_bytes(encode_change_control(plan))
    return folder, msgspec.structs.replace(manifest, schema=2, change_control="pccp.json")


@pytest.fixture
def bundle(tmp_path: Path, real: tuple[Path, Manifest]) -> Callable[..., Path]:
    folder, manifest = real

    def make(name: str, *, evidence: Text | None = None, **changes: Any) -> Path:
        path = folder / "evidence.json"
        text = path.read_text()
        try:
            path.write_text(evidence(text) if evidence else text)
            pack(folder, msgspec.structs.replace(manifest, **changes), tmp_path / f"{name}.edgeai")
        finally:
            path.write_text(text)
        return tmp_path / f"{name}.edgeai"

    return make


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    def telling(*words: object) -> dict[str, Any]:
        assert run(["fleet", "diff", *map(str, words), "--json"]) == 0
        return dict(json.loads(capsys.readouterr().out))

    return telling


def options(real: tuple[Path, Manifest], **changed: Any) -> dict[str, Any]:
    task = real[1].task
    return {"task": TaskUse(name=task.name, options={**task.options, **changed})}


def test_one_bundle_changes_nothing_of_itself(bundle: Any, told: Any) -> None:
    body = told(bundle("a"), bundle("b"))
    assert (body["changes"], body["needs_approval"], body["change_control"]) == ([], False, True)
    assert body["a"]["digest"] == body["b"]["digest"]
    assert body["evidence"]["same_data"]
    assert {figure["apart"] for figure in body["evidence"]["figures"]} <= {False, None}
    assert any(figure["a"] == figure["b"] and figure["a"]["low"] for figure in body["evidence"]["figures"])


def test_each_change_has_its_class(bundle: Any, told: Any, real: Any) -> None:
    a = bundle("a")
    body = told(a, bundle("b", version="9.0.0", **options(real, temperature=1.2)))
    classes = {change["where"]: change["class"] for change in body["changes"]}
    assert classes == {"version": "document", "temperature": "within-bounds"}
    assert body["needs_approval"] is False
    body = told(a, bundle("c", intended_use="Everything.", **options(real, temperature=1.7)))
    classes = {change["where"]: change["class"] for change in body["changes"]}
    assert classes == {"intended_use": "approval", "temperature": "approval"}
    assert body["needs_approval"] is True


def test_figures_stand_side_by_side_and_other_data_are_no_comparison(bundle: Any, told: Any, real: Any) -> None:
    def worse(text: str) -> str:
        body = json.loads(text)
        (parent,) = (each for each in body["trials"][-1]["models"] if each["id"] == "parent")
        parent["figures"][body["trials"][-1]["main"]] |= {"value": 0.1, "low": 0.05, "high": 0.15}
        return json.dumps(body)

    body = told(bundle("a"), bundle("b", evidence=worse))
    main = json.loads((real[0] / "evidence.json").read_text())["trials"][-1]["main"]
    (figure,) = (each for each in body["evidence"]["figures"] if (each["model"], each["figure"]) == ("parent", main))
    assert (figure["b"]["value"], figure["apart"], body["evidence"]["same_data"]) == (0.1, True, True)
    data = json.loads((real[0] / "evidence.json").read_text())["trials"][-1]["data"]
    body = told(bundle("a"), bundle("b", evidence=lambda text: text.replace(data, f"sha256:{'0' * 64}")))
    assert body["evidence"]["same_data"] is False


def test_people_read_the_same(bundle: Any, real: Any, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = bundle("a"), bundle("b", intended_use="Everything.", release=9)
    assert run(["fleet", "diff", str(a), str(b)]) == 0
    printed = capsys.readouterr().out
    assert "needs an approval" in printed
    assert "with an approver's signature alone" in printed
    assert "the same data" in printed
    plain = bundle("c", change_control=None)
    assert run(["fleet", "diff", str(plain), str(b)]) == 0
    printed = capsys.readouterr().out
    assert ("has no change control" in printed, "would need one" in printed) == (True, True)
    bare = Path(__file__).resolve().parents[3] / "tests/golden/bundles/real-1.edgeai"
    assert run(["fleet", "diff", str(bare), str(b)]) == 0
    assert "one of them has none" in capsys.readouterr().out


def test_what_is_not_sound_is_not_compared(bundle: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = bundle("a")
    (tmp_path / "damaged.edgeai").write_bytes(a.read_bytes()[:-1])
    assert run(["fleet", "diff", str(a), str(tmp_path / "damaged.edgeai")]) == 1
    assert "error[bundle." in capsys.readouterr().err
    assert run(["fleet", "diff", str(a), str(tmp_path / "none.edgeai")]) == 1
    assert "bundle.missing" in capsys.readouterr().err
