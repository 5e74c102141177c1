"""The cache of unpacked bundles: verified on every open, atomic, shared by processes."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeai.api import BundleRejected
from edgeai.bundle.archive import pack
from edgeai.bundle.manifest import Manifest
from edgeai.bundle.reader import Bundle, open_bundle, verify_folder

WEIGHTS = b"weights" * 5000


@pytest.fixture
def packed(write_tiny: Callable[[bytes], Path], tiny: Manifest, tmp_path: Path) -> Path:
    pack(write_tiny(WEIGHTS), tiny, tmp_path / "tiny.edgeai")
    return tmp_path / "tiny.edgeai"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def tampered_content(bundle: Bundle) -> None:
    bundle.path("artifacts/m.tflite").write_bytes(b"W" + WEIGHTS[1:])


def tampered_size(bundle: Bundle) -> None:
    bundle.path("artifacts/m.tflite").write_bytes(b"")


def removed(bundle: Bundle) -> None:
    bundle.path("artifacts/m.tflite").unlink()


def added(bundle: Bundle) -> None:
    bundle.path("artifacts/hook.py").write_text("import os")


def linked(bundle: Bundle) -> None:
    bundle.path("artifacts/m.tflite").unlink()
    bundle.path("artifacts/m.tflite").symlink_to("/etc/passwd")


def manifest_changed(bundle: Bundle) -> None:
    path = bundle.path("manifest.json")
    path.write_bytes(path.read_bytes().replace(b"Tests.", b"Other."))


def manifest_removed(bundle: Bundle) -> None:
    bundle.path("manifest.json").unlink()


SPOILED = [
    (tampered_content, "bundle.wrong-hash"),
    (tampered_size, "bundle.wrong-size"),
    (removed, "bundle.missing-file"),
    (added, "bundle.extra-file"),
    (linked, "bundle.link"),
    (manifest_removed, "bundle.not-a-bundle"),
]


@pytest.mark.parametrize("spoil", [*(spoil for spoil, _ in SPOILED), manifest_changed])
def test_a_spoiled_cache_is_unpacked_again(packed: Path, cache: Path, spoil) -> None:
    first = open_bundle(packed, cache_dir=cache)
    spoil(first)
    again = open_bundle(packed, cache_dir=cache)
    assert again == first
    assert again.path("artifacts/m.tflite").read_bytes() == WEIGHTS
    left = {path.name for path in cache.iterdir()}
    assert left == {first.digest.removeprefix("sha256:"), ".lock"}, "nothing is left over"


@pytest.mark.parametrize(("spoil", "code"), SPOILED)
def test_a_spoiled_folder_is_refused(packed: Path, cache: Path, spoil, code: str) -> None:
    bundle = open_bundle(packed, cache_dir=cache)
    assert verify_folder(bundle.root) == bundle
    spoil(bundle)
    with pytest.raises(BundleRejected) as caught:
        open_bundle(bundle.root)
    assert caught.value.code == code


def test_an_archive_that_was_changed_is_never_served_from_the_cache(packed: Path, cache: Path) -> None:
    first = open_bundle(packed, cache_dir=cache)
    data = bytearray(packed.read_bytes())
    data[100] ^= 1  # in the manifest
    packed.write_bytes(data)
    with pytest.raises(BundleRejected):
        open_bundle(packed, cache_dir=cache)
    assert verify_folder(first.root) == first


def test_a_cache_that_cannot_be_written_says_so(packed: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BundleRejected) as caught:
        open_bundle(packed, cache_dir=tmp_path / "file")
    assert caught.value.code == "bundle.cache-unwritable"
    assert caught.value.remedy


def test_many_threads_open_one_bundle_at_once(packed: Path, cache: Path) -> None:
    seen: list[object] = []
    barrier = threading.Barrier(6)

    def opening() -> None:
        barrier.wait()
        try:
            seen.append(open_bundle(packed, cache_dir=cache).path("artifacts/m.tflite").read_bytes())
        except BundleRejected as error:
            seen.append(error)

    threads = [threading.Thread(target=opening) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [WEIGHTS] * 6
    assert len(list(cache.glob("[0-9a-f]*"))) == 1


def test_processes_open_one_bundle_at_once(packed: Path, cache: Path) -> None:
    code = "import sys; from pathlib import Path; from edgeai.bundle.reader import open_bundle; "
    code += "print(open_bundle(sys.argv[1], cache_dir=Path(sys.argv[2])).digest)"
    running = [
        subprocess.Popen([sys.executable, "-c", code, str(packed), str(cache)], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    digests = {process.communicate(timeout=600)[0].strip() for process in running}
    assert digests == {open_bundle(packed, cache_dir=cache).digest}
