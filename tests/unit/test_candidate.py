"""What waits in a slot is opened as it would run: on the fastest engine where that is wished for, measured there."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgeai.bundle.archive import pack
from edgeai.bundle.manifest import Manifest
from edgeai.bundle.reader import open_bundle
from edgeai.bundle.releases import Numbered
from edgeai.config import DeviceConfig, load_config
from edgeai.roles import candidate
from edgeai.roles.engine import trials_of
from edgeai.slots import SlotFolder, SlotsError
from edgeai.spool import Spool


@pytest.fixture
def config(tmp_path: Path) -> DeviceConfig:
    (tmp_path / "profile.toml").write_text(
        'schema = 1\n[device]\nid = "cart"\nsite = "lab"\ndata_dir = "data"\n[trust]\nunsigned = "accept"\n'
        '[[deployments]]\nname = "guard"\nbundle = "first.edgeai"\nupdates = true\nbackends = ["fastest"]\n'
    )
    return load_config(tmp_path / "profile.toml")


def test_each_slot_has_its_own_figures(config: DeviceConfig, tmp_path: Path) -> None:
    (deployment,) = config.deployments
    folder = SlotFolder.of_device(config, deployment)
    kept = [trials_of(config, deployment, path).name for path in (folder.content("a"), folder.content("b"))]
    assert kept == ["guard.a.json", "guard.b.json"]
    assert trials_of(config, deployment, tmp_path / "bundles/sha256-1").name == "guard.json"
    other = deployment.model_copy(update={"name": "other"})
    assert trials_of(config, other, folder.content("a")).name == "other.json"


def test_what_waits_is_opened_as_it_would_run(
    config: DeviceConfig,
    tmp_path: Path,
    write_tiny: Callable[[bytes], Path],
    tiny: Manifest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (deployment,) = config.deployments
    folder = SlotFolder.of_device(config, deployment)
    digests = []
    for release in (1, 2):
        pack(write_tiny(b"%d" % release), msgspec.structs.replace(tiny, release=release), tmp_path / "new.edgeai")
        bundle = open_bundle(tmp_path / "new.edgeai", cache_dir=tmp_path / "unpacked")
        move = folder.install if release > 1 else folder.adopt
        move(Numbered.of(bundle.manifest, bundle.digest), lambda to, root=bundle.root: shutil.copytree(root, to))
        digests.append(bundle.digest)
    asked: list[Any] = []
    monkeypatch.setattr(candidate, "open_deployment", lambda *given: asked.extend(given[:3]))
    spool = Spool.of(config)
    try:
        with candidate.reported(spool, "rehearse:guard") as station:

            def opened(digest: str) -> Any:
                return candidate.opened(config, deployment, folder, digest, spool, station, stage="installed")

            with pytest.raises(SlotsError, match="it is not what lies installed in slot b"):
                opened(digests[0])
            opened(digests[1])
    finally:
        spool.close()
    bundle, _, meant = asked
    assert (bundle.digest, bundle.root) == (digests[1], folder.content("b"))
    assert meant.backends == ("fastest",)
    assert trials_of(config, meant, bundle.root).name == "guard.b.json"
