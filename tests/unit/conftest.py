"""Fixtures of the unit tests: small DICOM files, and bundles that a fake engine opens."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from edgeai.bundle.archive import pack
from edgeai.bundle.manifest import (
    ArtifactDecl,
    Eligibility,
    GoldenCase,
    Manifest,
    TaskUse,
    TensorDecl,
    TransformStep,
)
from edgeai.config import Spool as Limits
from edgeai.hosting import PluginInfo
from edgeai.model import Model, open_model
from edgeai.plugins import Registry, load_from
from edgeai.spool import Spool
from edgeai.testing.bundles import small_manifest
from edgeai.testing.distributions import write_fake_distribution
from edgeai.testing.fakes import answer_of, write_fake_artifact

if TYPE_CHECKING:
    from edgeai.testing.dicom_peers import Receiving

INPUT = TensorDecl(name="image", dtype="float32", shape=(1, 8, 8, 1), layout="NHWC")
OUTPUT = TensorDecl(name="scores", dtype="float32", shape=(1, 2))
FAKES = PluginInfo(name="fakes", module="edgeai.testing.fakes_plugin", distribution="edgeai", version="0")


BACKENDS = """
from edgeai.api import hookimpl
from edgeai.testing import fakes
from dataclasses import replace
EDGEAI_API = (1, 3)
@hookimpl
def edgeai_backends():
    return tuple(
        replace(fakes.backend(name), rank=rank, artifact_format={form!r}) for name, rank in {backends!r}.items()
    )
"""
PARTS = """
from edgeai.api import hookimpl
from edgeai.testing import fake_parts
EDGEAI_API = (1, 3)
@hookimpl
def edgeai_transforms():
    return (fake_parts.transform("fake-subsample"),)
@hookimpl
def edgeai_tasks():
    return (fake_parts.task("fake-classify"),)
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of distributions that are installed for one test: ``acme-parts``, for a fake bundle, and more."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    write_fake_distribution(folder, name="acme-parts", module_source=PARTS)
    yield folder
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(f"{folder}/"):
            del sys.modules[name]


@pytest.fixture
def install(site: Path) -> Callable[..., None]:
    """Install a plugin with backends: ``install("acme", {"acme-npu": 5})``, name -> rank."""

    def install(
        name: str, backends: dict[str, int], *, form: str = "fake", declared: bool = False, plugin: str | None = None
    ) -> None:
        module = name.replace("-", "_")
        write_fake_distribution(
            site,
            name=name,
            module=module,
            module_source=BACKENDS.format(backends=backends, form=form),
            entry_points={plugin or name: module},
            backends=dict.fromkeys(backends, module) if declared else None,
        )

    return install


@pytest.fixture(scope="session")
def fakes() -> Registry:
    """The plugin of fakes, loaded, as if it were installed."""
    return Registry.of_plugins([load_from(FAKES)])


@pytest.fixture
def make_dicom(tmp_path: Path) -> Callable[..., Path]:
    """Write an uncompressed 8-bit DICOM file: ``make_dicom("a.dcm", level=200, frames=1, Modality="CR")``."""

    def make(name: str = "image.dcm", *, level: int = 200, frames: int = 1, **attributes: Any) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
        dataset.SOPInstanceUID = generate_uid(entropy_srcs=[name])
        dataset.SeriesInstanceUID = generate_uid(entropy_srcs=["series"])
        dataset.StudyInstanceUID = generate_uid(entropy_srcs=["study"])
        dataset.Modality = "CR"
        dataset.PatientName = "Secret^Patient"
        dataset.Rows, dataset.Columns = 16, 20
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
        if frames > 1:
            dataset.NumberOfFrames = frames
        levels = [np.full((16, 20), (level + number) % 256, np.uint8) for number in range(frames)]
        dataset.PixelData = np.stack(levels).tobytes()
        for keyword, value in attributes.items():
            setattr(dataset, keyword, value)
        pydicom.dcmwrite(path, dataset, enforce_file_format=True)
        return path

    return make


@pytest.fixture
def open_spool(tmp_path: Path) -> Iterator[Callable[..., Spool]]:
    """Open the test's spool with these sinks and limits: ``open_spool("a", max_backlog=2)``; closed when it ends."""
    with ExitStack() as stack:

        def call(*sinks: str, **limits: Any) -> Spool:
            settings = Limits(**{"reserve_bytes": 1000, **limits})
            spool = Spool(tmp_path / "spool", settings, site="lab", device_id="cart")
            stack.callback(spool.close)
            if sinks:
                spool.enable_sinks(sinks)
            return spool

        yield call


@pytest.fixture
def station(tmp_path: Path) -> Iterator[Receiving]:
    """An SCP with a real spool, not yet listening; closed when the test ends."""
    from edgeai.testing.dicom_peers import Receiving  # here, since few unit tests need pynetdicom

    made = Receiving(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="session")
def tiny() -> Manifest:
    """Of a bundle that is packed, signed and opened, and never run; its artifact is ``artifacts/m.tflite``."""
    return small_manifest(
        task=TaskUse(name="classify"),
        inputs=(TensorDecl(name="image", dtype="float32", shape=(1, 2)),),
        outputs=(TensorDecl(name="scores", dtype="float32", shape=(1, 2)),),
        artifacts=(ArtifactDecl(id="a", format="tflite", precision="fp32", path="artifacts/m.tflite"),),
    )


@pytest.fixture
def write_tiny(tmp_path: Path) -> Callable[[bytes], Path]:
    """``write_tiny(weights)`` -> the folder that ``tiny`` is the manifest of: its artifact, and a card."""

    def write(weights: bytes) -> Path:
        folder = tmp_path / "content"
        (folder / "artifacts").mkdir(parents=True, exist_ok=True)
        (folder / "artifacts" / "m.tflite").write_bytes(weights)
        (folder / "CARD.md").write_text("A card.")
        return folder

    return write


@pytest.fixture
def make_bundle(tmp_path: Path) -> Callable[..., Path]:
    """Pack a bundle for the fake backends; keywords change the manifest, the others go to the artifact.

    ``files`` are more files of it, by path; with other ``outputs`` it has no golden case.
    """
    made = 0

    def make(
        *,
        misbehave: Any = None,
        guard_misbehaves: Any = None,
        golden: bool = True,
        golden_bias: float = 0.0,
        takes: TensorDecl = INPUT,
        files: Mapping[str, bytes] = MappingProxyType({}),
        **changes: Any,
    ) -> Path:
        nonlocal made
        made += 1
        folder = tmp_path / f"bundle-{made}"
        (folder / "golden").mkdir(parents=True)
        artifact = folder / "model.json"
        outputs = tuple(output.spec() for output in changes.get("outputs", (OUTPUT,)))
        write_fake_artifact(artifact, (takes.spec(),), outputs, misbehave=misbehave)
        for name, data in files.items():
            (folder / name).write_bytes(data)
        if getattr(changes.get("guard"), "model", None) is not None:
            write_fake_artifact(folder / "guard.json", (INPUT.spec(),), (OUTPUT.spec(),), misbehave=guard_misbehaves)
        manifest = msgspec.structs.replace(MANIFEST, **changes)
        if golden and "outputs" not in changes:
            np.save(folder / "golden" / "input.npy", np.full((1, 8, 8, 1), 0.75, np.float32))
            np.save(
                folder / "golden" / "output.npy", answer_of(artifact, 0.75, OUTPUT.spec()) + np.float32(golden_bias)
            )
        else:
            manifest = msgspec.structs.replace(manifest, golden=())
        out = tmp_path / f"bundle-{made}.edgeai"
        pack(folder, manifest, out)
        return out

    return make


OPEN_ARGUMENTS = ("device", "threads", "settings", "excluded", "breadcrumb")


@pytest.fixture
def opened(fakes: Registry, make_bundle: Callable[..., Path], tmp_path: Path) -> Iterator[Callable[..., Model]]:
    """Open a bundle on a fake backend; closed when the test ends."""
    models: list[Model] = []

    def opening(backends: tuple[str, ...] = ("fake-works",), *, bundle: Path | None = None, **more: Any) -> Model:
        given = {name: more.pop(name) for name in list(more) if name in OPEN_ARGUMENTS}
        path = bundle or make_bundle(**more)
        model = open_model(path, backends=backends, registry=fakes, cache_dir=tmp_path / "cache", **given)
        models.append(model)
        return model

    yield opening
    for model in models:
        model.close()


MANIFEST = small_manifest(
    plugins=("fakes",),
    task=TaskUse(name="fake-classify", options={"labels": ["bright", "dark"]}),
    transforms=(TransformStep(transform="fake-subsample", options={"rows": 8, "columns": 8}),),
    inputs=(INPUT,),
    outputs=(OUTPUT,),
    artifacts=(ArtifactDecl(id="fake-fp32", format="fake", precision="fp32", path="model.json"),),
    eligibility=Eligibility(modality=("CR", "DX")),
    golden=(GoldenCase(id="grey", inputs={"image": "golden/input.npy"}, outputs={"scores": "golden/output.npy"}),),
)
