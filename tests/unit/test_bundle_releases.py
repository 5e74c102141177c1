"""The release floor: what a bundle may be after another one of its name has given results, and where that is kept."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgeai.api import BundleRejected
from edgeai.bundle.admission import open_admitted, read_admitted
from edgeai.bundle.archive import pack
from edgeai.bundle.floors import FLOORS_NAME, Floors
from edgeai.bundle.manifest import Manifest
from edgeai.bundle.releases import Floor, Numbered, hold_to_floor, judge, raised
from edgeai.config import DeviceConfig, load_config

A, B, C = (f"sha256:{letter * 64}" for letter in "abc")


def numbered(release: int, digest: str = A) -> Numbered:
    return Numbered(name="tiny", release=release, digest=digest)


FLOOR = Floor(release=5, digest=A, since="2026-11-28T00:00:00Z")


# --- the decision -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("release", "digest", "floor", "verdict"),
    [
        (0, A, None, "runs"),
        (5, A, None, "runs"),
        (5, A, FLOOR, "runs"),
        (6, B, FLOOR, "runs"),
        (4, B, FLOOR, "lower"),
        (0, B, FLOOR, "lower"),
        (5, B, FLOOR, "reused"),
    ],
)
def test_what_may_run(release: int, digest: str, floor: Floor | None, verdict: str) -> None:
    assert judge(numbered(release, digest), floor) == verdict


def test_an_exception_names_one_bundle_and_is_used_only_where_it_is_needed() -> None:
    assert judge(numbered(4, B), FLOOR, allowed=[B]) == "exception"
    assert judge(numbered(5, B), FLOOR, allowed=[B]) == "exception"
    assert judge(numbered(0, B), FLOOR, allowed=[C, B]) == "exception"
    assert judge(numbered(4, C), FLOOR, allowed=[B]) == "lower"
    assert judge(numbered(6, B), FLOOR, allowed=[B]) == "runs"
    assert judge(numbered(5, A), FLOOR, allowed=[A]) == "runs"


def test_the_floor_only_rises_and_neither_an_exception_nor_an_unnumbered_bundle_moves_it() -> None:
    assert raised(numbered(0), None, "now") is None
    assert raised(numbered(3), None, "now") == Floor(release=3, digest=A, since="now")
    assert raised(numbered(6, B), FLOOR, "now") == Floor(release=6, digest=B, since="now")
    for unmoved in (numbered(5, A), numbered(5, B), numbered(4, B), numbered(0, B)):
        assert raised(unmoved, FLOOR, "now") == FLOOR


@pytest.mark.parametrize(
    ("release", "code", "words"),
    [
        (4, "bundle.rolled-back", ("tiny release 4", "release 5", "2026-11-28")),
        (0, "bundle.rolled-back", ("no release number", "release 5")),
        (5, "bundle.release-reused", ("another bundle", "release 5")),
    ],
)
def test_a_refusal_says_what_stands_and_how_to_go_back_on_purpose(
    release: int, code: str, words: tuple[str, ...]
) -> None:
    with pytest.raises(BundleRejected) as caught:
        hold_to_floor(numbered(release, B), FLOOR)
    assert caught.value.code == code
    for word in words:
        assert word in str(caught.value)
    assert f'allow_release = "{B}"' in (caught.value.remedy or "")
    assert hold_to_floor(numbered(release, B), FLOOR, allowed=[B]) == "exception"


# --- where it is kept ---------------------------------------------------------------------------------


def test_a_floor_outlives_the_process_and_is_the_owners_alone(tmp_path: Path) -> None:
    floors = Floors(tmp_path / FLOORS_NAME)
    assert floors.of("tiny") is None
    before = os.umask(0)
    try:
        assert floors.raise_to(numbered(3)) == 3
        assert floors.raise_to(Numbered(name="other", release=9, digest=C)) == 9
    finally:
        os.umask(before)
    kept = Floors(tmp_path / FLOORS_NAME).of("tiny")
    assert kept is not None
    assert (kept.release, kept.digest) == (3, A)
    assert stat.S_IMODE((tmp_path / FLOORS_NAME).stat().st_mode) == 0o600
    assert {path.name for path in tmp_path.iterdir()} == {FLOORS_NAME, "releases.lock"}


def test_raising_says_whether_it_rose(tmp_path: Path) -> None:
    floors = Floors(tmp_path / FLOORS_NAME)
    assert floors.raise_to(numbered(0)) is None
    assert not (tmp_path / FLOORS_NAME).exists()
    assert floors.raise_to(numbered(3)) == 3
    assert floors.raise_to(numbered(3)) is None
    assert floors.raise_to(numbered(2, B)) is None
    assert floors.raise_to(numbered(4, B)) == 4
    kept = floors.of("tiny")
    assert kept is not None
    assert kept.release == 4


def test_processes_that_raise_at_once_lose_nothing(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from edgeai.bundle.floors import Floors;"
        "from edgeai.bundle.releases import Numbered;"
        "[Floors(Path(sys.argv[1])).raise_to(Numbered(name=f'm{sys.argv[2]}-{n}', release=n, digest='sha256:'+'a'*64))"
        " for n in range(1, 21)]"
    )
    path = tmp_path / FLOORS_NAME
    running = [subprocess.Popen([sys.executable, "-c", code, str(path), str(number)]) for number in range(3)]
    assert [process.wait(300) for process in running] == [0, 0, 0]
    assert all(Floors(path).of(f"m{number}-{n}") for number in range(3) for n in range(1, 21))


DAMAGED = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"\xff",
    b'{"schema":2,"floors":{}}',
    b'{"floors":{}}',
    b'{"schema":1}',
    b'{"schema":1,"floors":{},"more":1}',
    b'{"schema":1,"floors":{"tiny":{"release":5}}}',
    b'{"schema":1,"floors":{"tiny":{"release":"5","digest":"%s","since":""}}}' % A.encode(),
    b'{"schema":1,"floors":{"tiny":{"release":-1,"digest":"%s","since":""}}}' % A.encode(),
    b'{"schema":1,"floors":{"tiny":{"release":5,"digest":"abc","since":""}}}',
    b'{"schema":1,"floors":{},"floors":{}}',
    b'{"schema":1,"floors":' + b"[" * 100_000,
]


@pytest.mark.parametrize("data", DAMAGED, ids=range(len(DAMAGED)))
def test_a_file_that_cannot_be_read_is_no_empty_one(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / FLOORS_NAME
    path.write_bytes(data)
    for ask in (lambda: Floors(path).of("tiny"), lambda: Floors(path).raise_to(numbered(1))):
        with pytest.raises(BundleRejected) as caught:
            ask()
        assert caught.value.code == "bundle.floors-unreadable"
        assert caught.value.remedy
    assert path.read_bytes() == data, "what may still be mended is left alone"


def test_a_folder_in_its_place_and_one_that_may_not_be_written(tmp_path: Path) -> None:
    (tmp_path / FLOORS_NAME).mkdir()
    with pytest.raises(BundleRejected) as caught:
        Floors(tmp_path / FLOORS_NAME).of("tiny")
    assert caught.value.code == "bundle.floors-unreadable"
    with pytest.raises(OSError, match="missing"):
        Floors(tmp_path / "missing" / FLOORS_NAME).raise_to(numbered(1))


# --- a device -----------------------------------------------------------------------------------------


@pytest.fixture
def device(tmp_path: Path, write_tiny: Callable[[bytes], Path], tiny: Manifest) -> Callable[..., DeviceConfig]:
    """``device(release, content)`` -> a profile whose only deployment has that bundle."""

    def make(release: int, content: bytes = b"weights", more: str = "") -> DeviceConfig:
        pack(write_tiny(content), msgspec.structs.replace(tiny, release=release), tmp_path / "tiny.edgeai")
        profile = tmp_path / "profile.toml"
        profile.write_text(
            '[device]\nid = "cart"\nsite = "lab"\ndata_dir = "data"\n[trust]\nunsigned = "accept"\n'
            f'[[deployments]]\nname = "guard"\nbundle = "tiny.edgeai"\n{more}'
        )
        (tmp_path / "data").mkdir(exist_ok=True)
        return load_config(profile)

    return make


def gave_a_result(config: DeviceConfig) -> str:
    """Open the device's bundle and raise its floor, as infer does; its digest."""
    bundle = open_admitted(config, config.deployments[0])
    Floors.of_device(config).raise_to(Numbered.of(bundle.manifest, bundle.digest))
    return bundle.digest


def code_of(config: DeviceConfig) -> str:
    """Every way to the bundle refuses alike."""
    codes = set()
    for ask in (open_admitted, read_admitted):
        with pytest.raises(BundleRejected) as caught:
            ask(config, config.deployments[0])
        codes.add(caught.value.code)
    (only,) = codes
    return only


def test_a_device_goes_forward_and_not_back(device: Any, tmp_path: Path) -> None:
    gave_a_result(device(2))
    newer = gave_a_result(device(3))
    older = device(2)
    assert code_of(older) == "bundle.rolled-back"
    digests = {path.name for path in (tmp_path / "data" / "bundles").glob("[0-9a-f]*")}
    device(2, b"not yet seen")
    assert code_of(older) == "bundle.rolled-back"
    assert {path.name for path in (tmp_path / "data" / "bundles").glob("[0-9a-f]*")} == digests, "it is not unpacked"
    assert code_of(device(3, b"others")) == "bundle.release-reused"
    again = device(3)
    assert read_admitted(again, again.deployments[0])[1] == newer


def test_a_device_without_numbers_runs_one_bundle_after_the_other(device: Any) -> None:
    for content in (b"one", b"two", b"one"):
        gave_a_result(device(0, content))


def test_the_floor_is_the_models_whatever_the_deployment_is_called(device: Any, tmp_path: Path) -> None:
    gave_a_result(device(3))
    config = device(2)
    profile = tmp_path / "profile.toml"
    profile.write_text(profile.read_text().replace('"guard"', '"other"'))
    assert code_of(load_config(profile)) == "bundle.rolled-back"
    assert code_of(config) == "bundle.rolled-back"


def test_the_profile_names_an_exception_by_digest(device: Any) -> None:
    old = gave_a_result(device(2))
    gave_a_result(device(3))
    allowed = device(2, more=f'allow_release = "{old}"\n')
    assert read_admitted(allowed, allowed.deployments[0])[1] == old
    assert gave_a_result(allowed) == old
    assert code_of(device(2)) == "bundle.rolled-back", "the floor stays where it was"


@pytest.mark.parametrize("value", ['"latest"', '"sha256:abc"', "3", '""'])
def test_an_exception_is_a_whole_digest(device: Any, value: str) -> None:
    from edgeai.api import ConfigError

    with pytest.raises(ConfigError, match="allow_release"):
        device(1, more=f"allow_release = {value}\n")


def test_a_bundle_that_lies_unpacked_in_a_folder_is_held_to_the_floor_too(device: Any, tmp_path: Path) -> None:
    gave_a_result(device(2))
    old = open_admitted(config := device(2), config.deployments[0]).root
    gave_a_result(device(3))
    profile = tmp_path / "profile.toml"
    profile.write_text(profile.read_text().replace('"tiny.edgeai"', json.dumps(str(old))))
    assert code_of(load_config(profile)) == "bundle.rolled-back"
