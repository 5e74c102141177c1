"""Bounds that are signed with a bundle: the stricter counts, unless the profile says otherwise."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from edgeai.api import BundleRejected
from edgeai.bundle.archive import pack
from edgeai.bundle.manifest import Manifest
from edgeai.bundle.probation import PROBATION_NAME, Bounds, bounds_of
from edgeai.bundle.reader import Bundle, open_bundle
from edgeai.bundle.releases import Numbered
from edgeai.cli.main import run
from edgeai.config import Updates, load_config
from edgeai.roles.probation import judge
from edgeai.slots import Probation, SlotFolder
from edgeai.slots.bounds import stricter
from edgeai.spool import Spool


@pytest.fixture
def bundle_with(tmp_path: Path, write_tiny: Callable[[bytes], Path], tiny: Manifest) -> Callable[[str | None], Bundle]:
    def made(text: str | None) -> Bundle:
        folder = write_tiny(b"weights")
        if text is not None:
            (folder / PROBATION_NAME).write_text(text)
        shutil.rmtree(tmp_path / "unpacked", ignore_errors=True)
        pack(folder, msgspec.structs.replace(tiny, files={}), tmp_path / "made.edgeai")
        return open_bundle(tmp_path / "made.edgeai", cache_dir=tmp_path / "unpacked")

    return made


def bounds_in(bundle: Bundle) -> Bounds:
    return bounds_of(bundle.root, bundle.manifest)


def test_a_bundle_says_what_it_wants(bundle_with: Callable[[str | None], Bundle]) -> None:
    assert bounds_in(bundle_with(None)) == Bounds()
    text = '{"schema": 1, "failures": 0, "slowdown": 2.0, "withheld": 0.2, "shift": true}'
    assert bounds_in(bundle_with(text)) == Bounds(failures=0, slowdown=2.0, withheld=0.2, shift=True)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"schema": 2}',
        '{"schema": 1, "failure": 0}',
        '{"schema": 1, "failures": -1}',
        '{"schema": 1, "slowdown": 0.5}',
        '{"schema": 1, "withheld": "0.2"}',
        '{"schema": 1, "shift": {"lesion": 0.1}}',
        '{"schema": 1, "failures": 0, "failures": 9}',
    ],
)
def test_what_cannot_be_read_is_refused(bundle_with: Callable[[str | None], Bundle], text: str) -> None:
    with pytest.raises(BundleRejected, match=r"probation\.json of tiny") as caught:
        bounds_in(bundle_with(text))
    assert caught.value.code == "bundle.invalid-probation"


def test_the_stricter_counts_unless_the_profile_says_otherwise() -> None:
    bounds = Bounds(failures=0, slowdown=9.0, withheld=0.2)
    rules = stricter(Updates(probation_failures=2, probation_slowdown=3.0), bounds)
    assert (rules.probation_failures, rules.probation_slowdown, rules.probation_withheld) == (0, 3.0, 0.2)
    assert stricter(Updates(), Bounds()) == Updates()
    off = Updates(probation_shift=False)
    assert stricter(off, Bounds(shift=True)).probation_shift
    assert stricter(Updates(), Bounds(shift=False)).probation_shift
    lax = Updates(probation_failures=2, probation_bounds="profile")
    assert stricter(lax, bounds) == lax


def test_they_decide() -> None:
    probation = Probation(since="t", needed=10, completed=7, withheld=3, before_withheld=0.05)
    rules = stricter(Updates(), Bounds(withheld=0.2))
    assert judge(probation, Updates(), deaths=0, last="")[0] == "goes on"
    assert judge(probation, rules, deaths=0, last="")[:2] == ("ends badly", "slots.withheld")


# --- what people see of them --------------------------------------------------------------------------


def test_inspect_shows_them(
    bundle_with: Callable[[str | None], Bundle], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = str(tmp_path / "made.edgeai")

    def inspected(text: str | None, *words: str) -> str:
        bundle_with(text)
        assert run(["inspect", made, *words]) == 0
        return capsys.readouterr().out

    assert "probation" not in inspected(None)
    assert json.loads(inspected(None, "--json"))["probation"] is None
    text = '{"schema": 1, "failures": 0, "shift": true}'
    assert "failures=0, shift=true" in inspected(text)
    assert json.loads(inspected(text, "--json"))["probation"] == json.loads(text)
    assert "not read here: probation.json of tiny 1.0.0" in " ".join(inspected('{"schema": 1, "failure": 0}').split())


def test_status_shows_which_count_for_what_is_on_probation_or_waits_to_be(
    bundle_with: Callable[[str | None], Bundle], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile = tmp_path / "profile.toml"
    profile.write_text(
        'schema = 1\n[device]\nid = "cart"\nsite = "lab"\ndata_dir = "data"\n[trust]\nunsigned = "accept"\n'
        '[updates]\nprobation_slowdown = 4.0\n[[deployments]]\nname = "guard"\nbundle = "x"\nupdates = true\n'
    )
    config = load_config(profile)
    Spool.of(config).close()
    slots = SlotFolder.of_device(config, config.deployments[0])

    def told() -> dict[str, object] | None:
        capsys.readouterr()
        run(["status", str(profile), "--json"])
        bounds: dict[str, object] | None = json.loads(capsys.readouterr().out)["deployments"][0]["slots"]["bounds"]
        return bounds

    def numbered(bundle: Bundle) -> Numbered:
        return Numbered(name=bundle.manifest.name, release=bundle.manifest.release, digest=bundle.digest)

    first = bundle_with(None)
    slots.adopt(numbered(first), lambda to: shutil.copytree(first.root, to) and None)
    assert told() is None, "nothing waits"
    second = bundle_with('{"schema": 1, "failures": 0, "slowdown": 9.0}')
    slots.install(numbered(second), lambda to: shutil.copytree(second.root, to) and None)
    signed = {"failures": 0, "slowdown": 9.0}
    assert told() == {"failures": 0, "slowdown": 4.0, "withheld": 0.5, "shift": True, "signed": signed}
    slots.rehearsed()
    slots.activate(3)
    assert told() == {"failures": 0, "slowdown": 4.0, "withheld": 0.5, "shift": True, "signed": signed}
    run(["status", str(profile)])
    page = " ".join(capsys.readouterr().out.split())
    assert "from probation it goes back by more failures and deaths than 0, 4 times the time, 50% more" in page
    assert "(it brings failures 0, slowdown 9.0)" in page
    slots.counted(completed=3)
    slots.prove()
    assert told() is None
