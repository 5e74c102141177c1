"""``[guard.model]`` of a card: which models may be put before another, and what of them ships."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edgeai.api import ConfigError, Frame, Geometry, InstanceRef
from edgeai.bundle.archive import pack
from edgeai.bundle.manifest import Eligibility, PixelUse
from edgeai.bundle.reader import open_bundle, read_manifest
from edgeai.bundle.uses import GuardUse
from edgeai.model.withheld import Withheld
from edgeai_workbench.card import Card, read_card
from edgeai_workbench.drawings import chest, head
from edgeai_workbench.sbom import sbom_of
from edgeai_workbench.standing import _beyond, standing_of

MODALITY = "modality-guard-1.0.1.edgeai"


@pytest.fixture
def asked(repo_root: Path, tmp_path: Path) -> Callable[..., Card]:
    """The card of xray-view with a guard's model; keywords change what it asks for."""
    folder = tmp_path / "own"
    folder.mkdir()
    shutil.copyfile(repo_root / "models" / "modality-guard" / MODALITY, tmp_path / MODALITY)
    text = (repo_root / "models" / "xray-view" / "model.toml").read_text(encoding="utf-8")
    text = re.sub(r"\[guard\.model\]\n(?:.+\n)+", "", text)

    def write(**changes: Any) -> Card:
        values = {"bundle": f"../{MODALITY}", "admit": ["radiograph"], "min_score": 0.5, **changes}
        values.setdefault("digest", read_manifest(tmp_path / MODALITY)[1])
        table = "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())
        (folder / "model.toml").write_text(f"{text}\n[guard.model]\n{table}", encoding="utf-8")
        return read_card(folder)

    return write


def code_of(card: Card, folder: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        standing_of(card, folder)
    return caught.value.code


def test_what_ships_are_the_artifacts_that_the_models_engines_open(asked: Any, tmp_path: Path) -> None:
    standing = standing_of(asked(), tmp_path / "own")
    assert standing is not None
    use = standing.use({"openvino"})
    assert [item.path for item in use.artifacts] == ["guard/artifacts/openvino-fp16/model.xml"]
    assert {name for case in use.golden for name in case.artifacts} == {"openvino-fp16"}
    standing.copy(use, tmp_path / "staging")
    names = {path.relative_to(tmp_path / "staging").as_posix() for path in (tmp_path / "staging").rglob("*.*")}
    assert {"guard/artifacts/openvino-fp16/model.xml", "guard/artifacts/openvino-fp16/model.bin"} <= names
    assert not [name for name in names if "tflite" in name]
    assert {path for case in use.golden for path in (*case.inputs.values(), *case.outputs.values())} <= names


def test_a_card_without_asks_for_none(repo_root: Path) -> None:
    folder = repo_root / "models" / "us-head"
    card = read_card(folder)
    assert standing_of(card, folder) is None
    assert card.for_manifest()["guard"] == GuardUse()


def test_the_folder_of_a_card_stands_for_its_bundle(asked: Any, repo_root: Path, tmp_path: Path) -> None:
    (tmp_path / "guard").symlink_to(repo_root / "models" / "modality-guard")
    standing = standing_of(asked(bundle="../guard"), tmp_path / "own")
    assert standing is not None
    assert standing.plugins == ("transforms", "classify")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"bundle": "../absent.edgeai"}, "config.guard-missing"),
        ({"digest": f"sha256:{'0' * 64}"}, "config.guard-changed"),
        ({"admit": ["radiograph", "chest"]}, "config.guard-label"),
    ],
)
def test_what_is_not_there_or_not_as_described_is_refused(
    asked: Any, tmp_path: Path, changes: dict[str, Any], code: str
) -> None:
    assert code_of(asked(**changes), tmp_path / "own") == code


@pytest.mark.parametrize(("key", "value"), [("min_score", 1.2), ("admit", []), ("digest", "latest"), ("score", 0.5)])
def test_what_makes_no_sense_is_refused_with_the_cards_other_mistakes(asked: Any, key: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"guard\.model\.{key}") as caught:
        asked(**{key: value})
    assert caught.value.code == "config.card-invalid"


def test_each_engine_of_the_model_needs_an_artifact_of_the_guards(asked: Any, tmp_path: Path) -> None:
    standing = standing_of(asked(artifacts=["tflite-fp32"]), tmp_path / "own")
    assert standing is not None
    assert [item.id for item in standing.use({"tflite"}).artifacts] == ["tflite-fp32"]
    for formats in ({"tflite", "openvino"}, {"onnx"}):
        with pytest.raises(ConfigError) as caught:
            standing.use(formats)
        assert caught.value.code == "config.guard-engines"
    other = standing_of(asked(artifacts=["tflite-int8"]), tmp_path / "own")
    assert other is not None
    with pytest.raises(ConfigError, match="no artifact tflite-int8; it has tflite-fp32"):
        other.use({"tflite"})


def test_it_must_have_been_judged_on_what_the_cards_fast_paths_decode(asked: Any, tmp_path: Path) -> None:
    card = asked()
    assert standing_of(card.model_copy(update={"pixels": PixelUse(fast=("luma",))}), tmp_path / "own") is not None
    assert (
        code_of(card.model_copy(update={"pixels": PixelUse(fast=("smallest",))}), tmp_path / "own")
        == "config.guard-unfit"
    )


def test_it_must_have_been_judged_on_all_sizes_that_the_card_lets_in(asked: Any, tmp_path: Path) -> None:
    """A cart asks the bundle's own eligibility alone: the guard would answer of an image that is too small for it."""
    card = asked()
    for rows, columns, is_fit in ((32, 32, True), (31, 32, False), (32, 31, False), (0, 0, False)):
        of_size = Eligibility(modality=("CR",), min_rows=rows, min_columns=columns)
        changed = card.model_copy(update={"eligibility": of_size})
        if is_fit:
            assert standing_of(changed, tmp_path / "own") is not None
        else:
            assert code_of(changed, tmp_path / "own") == "config.guard-unfit"


@pytest.mark.parametrize(
    ("admits", "judged", "beyond"),
    [
        ({"modality": ("CR",)}, {"modality": ("CR", "DX")}, ""),
        ({"modality": (" cr",)}, {"modality": ("CR",)}, ""),
        ({"modality": ("CR",)}, {}, ""),
        ({"modality": ("CR", "US")}, {"modality": ("CR", "DX")}, "modality is CR or US and must be of CR, DX"),
        ({}, {"modality": ("CR", "DX")}, "modality is any and must be of CR, DX"),
        ({"min_rows": 32}, {"min_rows": 33}, "min_rows is 32 and must be 33 at least"),
        ({"min_columns": 33}, {"min_columns": 33}, ""),
        ({"view_position": ("PA",)}, {"view_position": ("AP",)}, "view_position is PA and must be of AP"),
    ],
)
def test_what_a_card_lets_in_is_held_to_what_the_guard_is_for(
    admits: dict[str, Any], judged: dict[str, Any], beyond: str
) -> None:
    assert _beyond(Eligibility(**admits), Eligibility(**judged)) == beyond


def test_it_has_no_model_before_itself(asked: Any, tmp_path: Path) -> None:
    standing = standing_of(asked(), tmp_path / "own")
    assert standing is not None
    use = standing.use({"tflite"}, prefix="")
    bundle = open_bundle(tmp_path / MODALITY)
    both = msgspec.structs.replace(bundle.manifest, schema=2, guard=GuardUse(model=use), files={})
    shutil.copytree(
        bundle.root, tmp_path / "content", ignore=shutil.ignore_patterns("manifest.json", "signatures.json")
    )
    digest = pack(tmp_path / "content", both, tmp_path / "both.edgeai")
    assert code_of(asked(bundle="../both.edgeai", digest=digest), tmp_path / "own") == "config.guard-unfit"


def test_the_bill_of_materials_names_it(asked: Any, tmp_path: Path) -> None:
    card = asked()
    standing = standing_of(card, tmp_path / "own")
    body = json.loads(sbom_of(card, (), None, standing))
    [guard] = [each for each in body["components"] if each["name"] == "modality-guard"]
    assert guard["version"] == "1.0.1"
    assert {"name": "edgeai:guard", "value": standing.bundle.digest} in guard["properties"]  # type: ignore[union-attr]
    assert "modality-guard" not in sbom_of(card, ()).decode()


def test_it_is_asked_on_the_build_host_as_on_a_cart(asked: Any, tmp_path: Path) -> None:
    standing = standing_of(asked(), tmp_path / "own")
    assert standing is not None
    with standing.opened() as sentry:
        assert sentry.ask(sentry.prepare(frame(chest(3))), INSTANCE).withheld is False
        with pytest.raises(Withheld, match="not shown to be radiograph"):
            sentry.ask(sentry.prepare(frame(head(3))), INSTANCE)


INSTANCE = InstanceRef(sop_class_uid="1.2", sop_instance_uid="1.2.3", rows=256, columns=256)


def frame(pixels: np.ndarray) -> Frame:
    rows, columns = pixels.shape[:2]
    geometry = Geometry(source_rows=rows, source_columns=columns)
    return Frame(pixels=pixels, number=1, geometry=geometry, instance=INSTANCE, bits_stored=8)
