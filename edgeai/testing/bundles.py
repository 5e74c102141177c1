"""Bundles for tests: one for the fake engines, which needs no model, and any with another content than was packed."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgeai.bundle.archive import pack
from edgeai.bundle.manifest import ArtifactDecl, Manifest, TaskUse, TensorDecl, TransformStep
from edgeai.bundle.zip_form import new_member
from edgeai.testing.fakes import Misbehaviour, write_fake_artifact

_IMAGE = TensorDecl(name="image", dtype="float32", shape=(1, 8, 8, 1), layout="NHWC")
_SCORES = TensorDecl(name="scores", dtype="float32", shape=(1, 2))


def small_manifest(**fields: Any) -> Manifest:
    """The manifest of a bundle that a test makes: what any has to say and no test is about; ``fields`` say the rest.

    Args:
        fields: of ``Manifest``: ``task``, ``inputs``, ``outputs`` and ``artifacts``, and whatever is to be otherwise.
    """
    usual = {"name": "tiny", "version": "1.0.0", "release": 1, "min_edgeai": "0.1"}
    return Manifest(**{**usual, "intended_use": "Tests.", "licence": "Apache-2.0", "plugins": (), **fields})


def pack_fake_bundle(
    folder: Path,
    out: Path,
    *,
    name: str,
    release: int = 0,
    misbehave: Misbehaviour | None = None,
    plugins: tuple[str, ...] = ("fakes",),
    task: str = "fake-classify",
    transform: str = "fake-subsample",
) -> str:
    """Pack a model that calls an image ``dull`` or ``bright``, for the backends of the plugin ``fakes`` and their like.

    It takes any image of 8 x 8 pixels or more and looks at every n-th of them.

    Args:
        folder: for the bundle's content; made if it is not there, and what lies in it is packed too.
        out: the bundle.
        name: of the model, as in a manifest.
        release: its number; 0 for none.
        misbehave: what every backend does with this artifact, and to which images.
        plugins: that it needs.
        task: of one of them; it takes the options of ``fake-classify``.
        transform: of one of them; it takes the options of ``fake-subsample``.

    Returns:
        The bundle's digest.

    Raises:
        BundleRejected: ``name`` is no name for a model, or ``folder`` holds what no bundle may.
    """
    folder.mkdir(exist_ok=True)
    write_fake_artifact(folder / "model.fake", [_IMAGE.spec()], [_SCORES.spec()], misbehave=misbehave)
    manifest = small_manifest(
        name=name,
        release=release,
        plugins=plugins,
        task=TaskUse(name=task, options={"labels": ["dull", "bright"]}),
        transforms=(TransformStep(transform=transform, options={"rows": 8, "columns": 8}),),
        inputs=(_IMAGE,),
        outputs=(_SCORES,),
        artifacts=(ArtifactDecl(id="fake-fp32", format="fake", precision="fp32", path="model.fake"),),
    )
    return pack(folder, manifest, out)


def change_member(bundle: Path, name: str, change: Callable[[bytes], bytes]) -> None:
    """Another content of one file, in an archive that is sound in itself: what whoever has a zip program could make.

    Args:
        bundle: the archive; it is written anew.
        name: the member; its manifest's entry stays as it was.
        change: from what was in it to what is to be.
    """
    with zipfile.ZipFile(bundle) as old:
        members = {each: old.read(each) for each in old.namelist()}
    members[name] = change(members[name])
    with zipfile.ZipFile(bundle, "w") as new:
        for each, data in members.items():
            new.writestr(new_member(each), data)


def let_all_pass(folder: Path) -> Path:
    """Have the card of a folder leave out the look at the content: for tests whose subject is another.

    Images that are drawn, of one level or of noise, show nothing, and would be withheld.

    Args:
        folder: of the card; it is returned. Twice is fine.
    """
    card = folder / "model.toml"
    if "\n[guard]\n" not in (text := card.read_text(encoding="utf-8")):
        card.write_text(f"{text}\n[guard]\ncontent = false\n", encoding="utf-8")
    return folder
