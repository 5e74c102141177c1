"""Bounds that are signed with a bundle: the stricter counts, unless the profile says otherwise."""

from __future__ import annotations

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
from edgeai.config import Updates
from edgeai.roles.probation import judge, stricter
from edgeai.slots import Probation


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


def test_a_bundle_says_what_it_wants(bundle_with: Callable[[str | None], Bundle]) -> None:
    assert bounds_of(bundle_with(None)) == Bounds()
    text = '{"schema": 1, "failures": 0, "slowdown": 2.0, "withheld": 0.2}'
    assert bounds_of(bundle_with(text)) == Bounds(failures=0, slowdown=2.0, withheld=0.2)


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
        '{"schema": 1, "failures": 0, "failures": 9}',
    ],
)
def test_what_cannot_be_read_is_refused(bundle_with: Callable[[str | None], Bundle], text: str) -> None:
    with pytest.raises(BundleRejected, match=r"probation\.json of tiny") as caught:
        bounds_of(bundle_with(text))
    assert caught.value.code == "bundle.invalid-probation"


def test_the_stricter_counts_unless_the_profile_says_otherwise() -> None:
    bounds = Bounds(failures=0, slowdown=9.0, withheld=0.2)
    rules = stricter(Updates(probation_failures=2, probation_slowdown=3.0), bounds)
    assert (rules.probation_failures, rules.probation_slowdown, rules.probation_withheld) == (0, 3.0, 0.2)
    assert stricter(Updates(), Bounds()) == Updates()
    lax = Updates(probation_failures=2, probation_bounds="profile")
    assert stricter(lax, bounds) == lax


def test_they_decide() -> None:
    probation = Probation(since="t", needed=10, completed=7, withheld=3, before_withheld=0.05)
    rules = stricter(Updates(), Bounds(withheld=0.2))
    assert judge(probation, Updates(), deaths=0, last="")[0] == "goes on"
    assert judge(probation, rules, deaths=0, last="")[:2] == ("ends badly", "slots.withheld")
