"""Bundles of old versions open for ever, as what they were."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeai.api import BundleRejected
from edgeai.bundle.manifest import Eligibility, FrameUse, PixelUse, Tolerance, TransformStep
from edgeai.bundle.reader import open_bundle, read_manifest, verify_bundle
from edgeai.bundle.trust import TrustPolicy
from edgeai.bundle.uses import (
    AbstentionUse,
    AttributeFeed,
    AttributeUse,
    DistanceUse,
    ExplanationUse,
    GatheringUse,
    ImageFeed,
    InputEligibility,
    StateFeed,
    UnitUse,
)
from edgeai.model import open_model

DIGEST = "sha256:fec4346298183bfcf83afed5b4b0ff06734d32021ae70af1796a701091ca298d"
REAL_DIGEST = "sha256:6251e91c9cc6cbff932dea8279d1fbb2f5a5e8dbf7756c17015f1ff85c8262e1"
DOCUMENTS_DIGEST = "sha256:ebdfb6608e40af31b0b4112a1cdf1ac08f23f6220fb25c461ed955a31f125223"
USES_DIGEST = "sha256:6439bd70955513c63afb31d7130cabc9de4744de063013c17da26022ca6ca841"
SIGNERS = {"golden-ed25519", "golden-p256", "golden-p384", "golden-rsa"}


@pytest.fixture(scope="module")
def bundles(repo_root: Path) -> Path:
    return repo_root / "tests" / "golden" / "bundles"


@pytest.mark.parametrize("name", ["good-unsigned-1", "good-deflated-1", "good-signed-1"])
def test_a_bundle_of_schema_1_is_what_it_was(bundles: Path, tmp_path: Path, name: str) -> None:
    bundle = open_bundle(bundles / f"{name}.edgeai", cache_dir=tmp_path)
    manifest = bundle.manifest
    assert bundle.digest == DIGEST
    assert (manifest.schema, manifest.name, manifest.version, manifest.release) == (1, "golden", "1.0.0", 7)
    assert manifest.plugins == ("transforms", "classify")
    assert manifest.eligibility == Eligibility(
        modality=("CR", "DX"), body_part_examined=("CHEST",), min_rows=64, min_columns=64
    )
    assert manifest.pixels == PixelUse(fast=("luma", "reduced"))
    assert manifest.frames == FrameUse(select="all", every=2, max=8)
    assert manifest.transforms == (
        TransformStep(transform="grey"),
        TransformStep(transform="resize", options={"rows": 2, "columns": 2}),
    )
    assert manifest.task.options == {"labels": ["a", "b"], "threshold": 0.5}
    assert manifest.outputs[0].shape == (None, 2)
    [case] = manifest.golden
    assert case.tolerance_for("tflite-fp32") == Tolerance(absolute=0.01, relative=0.01)
    assert np.load(bundle.path(case.outputs["scores"])).tolist() == [[0.25, 0.75]]
    assert bundle.path(manifest.artifacts[0].path).read_text() == "not a model, but it has a hash\n"


def test_signatures_of_every_kind_still_hold(bundles: Path, tmp_path: Path) -> None:
    trust = TrustPolicy(keys=(bundles / "trust",), threshold=4)
    bundle = open_bundle(bundles / "good-signed-1.edgeai", cache_dir=tmp_path, trust=trust)
    assert {signer.name for signer in bundle.signers} == SIGNERS
    with pytest.raises(BundleRejected) as caught:
        read_manifest(bundles / "good-unsigned-1.edgeai", trust=trust)
    assert caught.value.code == "bundle.unsigned"


@pytest.mark.parametrize("backend", ["tflite", "openvino"])
def test_a_model_that_version_0_1_packed_still_answers_as_it_did(bundles: Path, tmp_path: Path, backend: str) -> None:
    """As it shipped, with the plugins that it names, by its own golden cases."""
    with open_model(bundles / "real-1.edgeai", backends=(backend,), cache_dir=tmp_path) as model:
        assert model.bundle.digest == REAL_DIGEST
        assert model.bundle.manifest.schema == 1
        assert model.engine.backend == backend
        answers = model.rehearse()
    assert len(answers) == 4
    assert max(answer.of_tolerance for answer in answers) <= 1.0


def test_a_bundle_of_schema_2_is_what_it_was(bundles: Path, tmp_path: Path) -> None:
    bundle = open_bundle(bundles / "documents-2.edgeai", cache_dir=tmp_path)
    manifest = bundle.manifest
    assert bundle.digest == DOCUMENTS_DIGEST
    assert (manifest.schema, manifest.name, manifest.release) == (2, "golden", 7)
    assert (manifest.unit, manifest.feeds, manifest.guard, manifest.explanations) == (UnitUse(), {}, None, ())
    assert manifest.evidence_path == "evidence.json"
    assert bundle.path("evidence.json").read_text() == "{}\n"
    assert manifest.change_control == "pccp.json"


def test_a_bundle_with_every_use_of_schema_2_is_read_for_ever(bundles: Path) -> None:
    verified = verify_bundle(bundles / "uses-2.edgeai")
    manifest = verified.manifest
    assert verified.digest == USES_DIGEST
    assert manifest.unit == UnitUse(kind="study", gathering=GatheringUse(timeout_s=600.0, missing="declare"))
    assert manifest.feeds == {
        "frontal": ImageFeed(eligibility=InputEligibility(view_position=("PA", "AP"))),
        "lateral": ImageFeed(
            eligibility=InputEligibility(view_position=("LL",), laterality=("L",)),
            transforms=(TransformStep(transform="grey"),),
            required=False,
        ),
        "acquired": AttributeFeed(
            attributes=(
                AttributeUse(keyword="kvp", offset=40.0, scale=0.01, absent=0.5),
                AttributeUse(keyword="view_position", encode="one-hot", values=("PA", "AP")),
                AttributeUse(keyword="patient_age", scale=0.01),
            )
        ),
        "state": StateFeed(output="next_state"),
    }
    guard = manifest.guard
    assert guard is not None
    assert guard.stages == ("content", "model", "distance", "abstention")
    assert guard.model is not None
    assert (guard.model.admit, guard.model.min_score) == (("US",), 0.9)
    assert guard.distance == DistanceUse(
        output="features", method="mahalanobis", parameters="guard/distance.npz", threshold=4.5, true_accept=0.98
    )
    assert guard.abstention == AbstentionUse(
        method="lac", risk=0.05, quantile=0.9, by="view_position", quantiles={"PA": 0.91}
    )
    assert manifest.explanations == (ExplanationUse(output="map", method="grad-cam", label="a"),)


def test_every_bundle_here_is_opened_by_a_test(bundles: Path) -> None:
    first = {"good-unsigned-1", "good-deflated-1", "good-signed-1", "real-1"}
    assert {path.stem for path in bundles.glob("*.edgeai")} == first | {"documents-2", "uses-2"}
