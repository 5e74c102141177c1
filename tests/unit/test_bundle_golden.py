"""Bundles of old versions open for ever, as what they were."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeai.api import BundleRejected
from edgeai.bundle.manifest import Eligibility, FrameUse, PixelUse, Tolerance, TransformStep
from edgeai.bundle.reader import open_bundle, read_manifest
from edgeai.bundle.trust import TrustPolicy

DIGEST = "sha256:fec4346298183bfcf83afed5b4b0ff06734d32021ae70af1796a701091ca298d"
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


def test_every_bundle_here_is_opened_by_a_test(bundles: Path) -> None:
    assert {path.stem for path in bundles.glob("*.edgeai")} == {"good-unsigned-1", "good-deflated-1", "good-signed-1"}
