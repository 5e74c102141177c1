"""The archive: deterministic, and every other form of it refused with a code of its own."""

from __future__ import annotations

import io
import os
import stat
import struct
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from edgeai.api import BundleRejected
from edgeai.bundle.archive import Archive, BundleLimits, pack
from edgeai.bundle.manifest import Manifest, decode_manifest, encode_manifest
from edgeai.bundle.reader import default_cache_dir, open_bundle, read_manifest

WEIGHTS = b"weights" * 300


@pytest.fixture
def folder(write_tiny: Callable[[bytes], Path]) -> Path:
    return write_tiny(WEIGHTS)


@pytest.fixture
def packed(folder: Path, tmp_path: Path, tiny: Manifest) -> Path:
    pack(folder, tiny, tmp_path / "tiny.edgeai")
    return tmp_path / "tiny.edgeai"


def code_of(path: Path, cache: Path) -> str:
    with pytest.raises(BundleRejected) as caught:
        open_bundle(path, cache_dir=cache)
    return caught.value.code


def rewrite(path: Path, change: Callable[[dict[str, bytes]], None], *, method: int = zipfile.ZIP_STORED) -> Path:
    """The same form of archive, with other content: what an attacker with our own packer could make."""
    with zipfile.ZipFile(path) as old:
        members = {name: old.read(name) for name in old.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w") as new:
        for name, data in members.items():
            member = zipfile.ZipInfo(name)
            member.compress_type = method
            member.external_attr = (stat.S_IFREG | 0o644) << 16
            new.writestr(member, data)
    return path


def test_two_packs_are_byte_identical(folder: Path, packed: Path, tmp_path: Path, tiny: Manifest) -> None:
    os.utime(folder / "CARD.md", (time.time() + 5000, time.time() + 5000))
    (folder / "CARD.md").chmod(0o600)
    digest = pack(folder, tiny, tmp_path / "again.edgeai")
    assert (tmp_path / "again.edgeai").read_bytes() == packed.read_bytes()
    assert read_manifest(packed)[1] == digest
    assert not list(tmp_path.glob("*.partial"))


def test_a_bundle_opens_and_holds_what_was_packed(packed: Path, tmp_path: Path) -> None:
    bundle = open_bundle(packed, cache_dir=tmp_path / "cache")
    assert bundle.path("artifacts/m.tflite").read_bytes() == WEIGHTS
    assert set(bundle.manifest.files) == {"artifacts/m.tflite", "CARD.md"}
    assert bundle.digest == read_manifest(packed)[1]
    assert open_bundle(packed, cache_dir=tmp_path / "cache") == bundle
    assert open_bundle(bundle.root).manifest == bundle.manifest, "an unpacked bundle opens as a folder"


def test_the_cache_is_where_xdg_says(monkeypatch: pytest.MonkeyPatch, packed: Path, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert open_bundle(packed).root.parent == default_cache_dir() == tmp_path / "xdg" / "edgeai" / "bundles"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert default_cache_dir().is_absolute()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda m: m.update({"artifacts/m.tflite": b"W" + WEIGHTS[1:]}), "bundle.wrong-hash"),
        (lambda m: m.update({"artifacts/m.tflite": WEIGHTS + b"x"}), "bundle.wrong-size"),
        (lambda m: m.update({"extra.txt": b"x"}), "bundle.extra-file"),
        (lambda m: m.update({"signatures.json": b"{}"}), "bundle.bad-signatures-file"),
        (lambda m: m.update({"signatures.json": b""}), "bundle.bad-signatures-file"),
        (lambda m: m.pop("CARD.md"), "bundle.missing-file"),
        (lambda m: m.pop("manifest.json"), "bundle.not-a-bundle"),
        (lambda m: m.update({"manifest.json": b"{}"}), "bundle.invalid-manifest"),
        (lambda m: m.update({"../evil": b"x"}), "bundle.unsafe-path"),
        (lambda m: m.update({"/evil": b"x"}), "bundle.unsafe-path"),
        (lambda m: m.update({"folder/": b""}), "bundle.unsafe-path"),
        (lambda m: m.update({"card.MD": b"x"}), "bundle.duplicate-path"),
        (lambda m: m.update({"CARD.md/x": b"x"}), "bundle.duplicate-path"),
    ],
)
def test_content_that_the_manifest_does_not_say(packed: Path, tmp_path: Path, change, code: str) -> None:
    assert code_of(rewrite(packed, change), tmp_path / "cache") == code
    assert not list((tmp_path / "cache").glob("[0-9a-f]*")), "nothing that failed stays where it would be found"


def test_an_unknown_key_in_the_archives_manifest(packed: Path, tmp_path: Path) -> None:
    def change(members: dict[str, bytes]) -> None:
        members["manifest.json"] = members["manifest.json"].replace(b'"schema":1', b'"schema":1,"script":"rm"')

    assert code_of(rewrite(packed, change), tmp_path / "cache") == "bundle.unknown-key"


def test_a_link_in_the_archive(packed: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(packed, "a") as archive:
        member = zipfile.ZipInfo("link")
        member.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(member, "/etc/passwd")
    assert code_of(packed, tmp_path / "cache") == "bundle.link"


def test_a_name_twice(packed: Path, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(packed, "a") as archive:
        archive.writestr(zipfile.ZipInfo("CARD.md"), "another")
    assert code_of(packed, tmp_path / "cache") == "bundle.duplicate-path"


def in_the_last_member(packed: Path, *, size: int = 0, behind: bytes = b"") -> None:
    """Say another size of what the last member holds, or put bytes behind the end of its deflate stream."""
    data = bytearray(packed.read_bytes())
    with zipfile.ZipFile(packed) as archive:
        at, last, count = archive.start_dir, archive.infolist()[-1], len(archive.infolist())
    entry = len(data) - 22 - 46 - len(last.filename)
    assert last.compress_type == zipfile.ZIP_DEFLATED
    assert count == 3
    for offset in (last.header_offset + 18, entry + 20):
        struct.pack_into("<LL", data, offset, last.compress_size + len(behind), last.file_size + size)
    struct.pack_into("<L", data, len(data) - 6, at + len(behind))
    packed.write_bytes(data[:at] + behind + data[at:])


def test_any_other_compression_is_refused(packed: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr(zipfile.ZipInfo("bomb"), b"\0" * (8 << 20), compress_type=zipfile.ZIP_LZMA)
    assert code_of(packed, tmp_path / "cache") == "bundle.compressed"


def test_a_bomb_is_refused_by_what_it_would_unpack_to(packed: Path) -> None:
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr(zipfile.ZipInfo("bomb"), b"\0" * (8 << 20), compress_type=zipfile.ZIP_DEFLATED)
    assert packed.stat().st_size < 20_000
    with pytest.raises(BundleRejected) as caught:
        Archive(packed, limits=BundleLimits(max_bytes=1 << 20))
    assert caught.value.code == "bundle.too-large"


def test_a_member_that_holds_more_than_it_says(packed: Path, tmp_path: Path) -> None:
    def change(members: dict[str, bytes]) -> None:
        declared = f'"bytes":{len(WEIGHTS)}'.encode()
        assert declared in members["manifest.json"]
        members["manifest.json"] = members["manifest.json"].replace(declared, f'"bytes":{len(WEIGHTS) - 5}'.encode())

    rewrite(packed, change, method=zipfile.ZIP_DEFLATED)
    in_the_last_member(packed, size=-5)
    assert code_of(packed, tmp_path / "cache") == "bundle.surplus-bytes"


@pytest.mark.parametrize("behind", [b"HIDDEN", b"\0"])
def test_bytes_behind_the_end_of_a_deflate_stream(packed: Path, tmp_path: Path, behind: bytes) -> None:
    """Python's zip reader does not look at them; another may."""
    in_the_last_member(packed, behind=behind)
    assert zipfile.ZipFile(packed).testzip() is None
    assert code_of(packed, tmp_path / "cache") == "bundle.surplus-bytes"


def test_a_deflate_stream_that_is_damaged_or_ends_early(packed: Path, tmp_path: Path) -> None:
    whole = packed.read_bytes()
    with zipfile.ZipFile(packed) as archive:
        last = archive.infolist()[-1]
    begin = last.header_offset + 30 + len(last.filename)
    for at in range(begin, begin + last.compress_size - 1):  # the last byte has bits that mean nothing
        packed.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        assert code_of(packed, tmp_path / "cache") in {"bundle.wrong-hash", "bundle.surplus-bytes"}


def test_stored_members_are_read_as_well(packed: Path, tmp_path: Path) -> None:
    digest = read_manifest(packed)[1]
    assert open_bundle(rewrite(packed, lambda members: None), cache_dir=tmp_path / "cache").digest == digest


def test_what_compresses_is_smaller_in_the_bundle(folder: Path, packed: Path, tmp_path: Path, tiny: Manifest) -> None:
    (folder / "zeros").write_bytes(b"\0" * 100_000)
    pack(folder, tiny, tmp_path / "more.edgeai")
    assert (tmp_path / "more.edgeai").stat().st_size < packed.stat().st_size + 500


def test_encrypted_members_are_refused(packed: Path, tmp_path: Path) -> None:
    data = bytearray(packed.read_bytes())
    with zipfile.ZipFile(packed) as archive:
        at = archive.start_dir
    flags = struct.unpack_from("<H", data, at + 8)[0]
    struct.pack_into("<H", data, at + 8, flags | 1)
    packed.write_bytes(data)
    assert code_of(packed, tmp_path / "cache") == "bundle.encrypted"


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (lambda d: b"", "bundle.not-a-bundle"),
        (lambda d: b"hello" * 100, "bundle.not-a-bundle"),
        (lambda d: d[:-1], "bundle.not-a-bundle"),
        (lambda d: d[: len(d) // 2], "bundle.not-a-bundle"),
        (lambda d: d + b"x", "bundle.not-a-bundle"),
        (lambda d: b"#!/bin/sh\n" + d, "bundle.not-a-bundle"),
        (lambda d: d[:-22] + b"\0" * 100 + d[-22:], "bundle.surplus-bytes"),
        (lambda d: d[:40] + b"\0" * 100 + d[40:], "bundle.surplus-bytes"),
    ],
)
def test_a_file_that_is_not_byte_for_byte_a_bundle(packed: Path, tmp_path: Path, damage, code: str) -> None:
    packed.write_bytes(damage(packed.read_bytes()))
    assert code_of(packed, tmp_path / "cache") == code


def test_hidden_bytes_between_members_are_refused(packed: Path, tmp_path: Path) -> None:
    """A hole that the central directory steps over: the zip reader is content, the reader is not."""
    data = packed.read_bytes()
    with zipfile.ZipFile(packed) as archive:
        at, second = archive.start_dir, archive.infolist()[1].header_offset
        sizes = [46 + len(member.filename) for member in archive.infolist()]
    hole = b"HIDDEN"
    new = bytearray(data[:second] + hole + data[second:])
    entry = at + len(hole)
    for size in sizes:
        offset = struct.unpack_from("<L", new, entry + 42)[0]
        if offset >= second:
            struct.pack_into("<L", new, entry + 42, offset + len(hole))
        entry += size
    struct.pack_into("<L", new, len(new) - 6, at + len(hole))
    packed.write_bytes(new)
    assert zipfile.ZipFile(packed).testzip() is None
    assert code_of(packed, tmp_path / "cache") == "bundle.surplus-bytes"


def test_a_missing_file_is_no_bundle(tmp_path: Path) -> None:
    assert code_of(tmp_path / "none.edgeai", tmp_path) == "bundle.missing"
    assert code_of(tmp_path, tmp_path) == "bundle.not-a-bundle"


def test_too_large_is_refused_on_both_ways(folder: Path, packed: Path, tmp_path: Path, tiny: Manifest) -> None:
    few = BundleLimits(max_files=2)
    small = BundleLimits(max_bytes=1000)
    for limits in (few, small):
        with pytest.raises(BundleRejected) as caught:
            Archive(packed, limits=limits)
        assert caught.value.code == "bundle.too-large"
        with pytest.raises(BundleRejected) as caught:
            pack(folder, tiny, tmp_path / "no.edgeai", limits=limits)
        assert caught.value.code == "bundle.too-large"
    assert not (tmp_path / "no.edgeai").exists()


def test_packing_refuses_what_reading_would(folder: Path, tmp_path: Path, tiny: Manifest) -> None:
    out = tmp_path / "no.edgeai"
    reserved = folder / "signatures.json"
    cases = [
        (lambda: (folder / "link").symlink_to("/etc/passwd"), (folder / "link").unlink, "bundle.link"),
        (lambda: (folder / ".git").write_text(""), (folder / ".git").unlink, "bundle.unsafe-path"),
        (lambda: (folder / "a b").write_text(""), (folder / "a b").unlink, "bundle.unsafe-path"),
        (lambda: (folder / "card.md").write_text(""), (folder / "card.md").unlink, "bundle.duplicate-path"),
        (lambda: reserved.write_text(""), reserved.unlink, "bundle.unsafe-path"),
        (lambda: (folder / "artifacts/m.tflite").unlink(), lambda: None, "bundle.missing-file"),
    ]
    for spoil, mend, code in cases:
        spoil()
        with pytest.raises(BundleRejected) as caught:
            pack(folder, tiny, out)
        assert caught.value.code == code
        assert not out.exists()
        mend()


def test_packing_refuses_values_that_reading_would(folder: Path, tmp_path: Path, tiny: Manifest) -> None:
    for change in ({"name": "Not A Slug"}, {"min_edgeai": "99.0"}, {"intended_use": ""}):
        with pytest.raises(BundleRejected):
            pack(folder, msgspec.structs.replace(tiny, **change), tmp_path / "no.edgeai")


def test_packing_again_from_an_unpacked_bundle_changes_nothing(packed: Path, tmp_path: Path) -> None:
    bundle = open_bundle(packed, cache_dir=tmp_path / "cache")
    pack(bundle.root, bundle.manifest, tmp_path / "again.edgeai")
    assert (tmp_path / "again.edgeai").read_bytes() == packed.read_bytes()


def test_the_manifest_in_the_archive_is_the_canonical_one(packed: Path) -> None:
    with zipfile.ZipFile(packed) as archive:
        data = archive.read("manifest.json")
    assert encode_manifest(decode_manifest(data)) == data
    assert io.BytesIO(data).getvalue() == data


def described_otherwise(data: bytes, at: int, field: str, offset: int, value: int) -> bytes:
    """A field of the header before a member (not of the directory at the end) changed."""
    changed = bytearray(data)
    struct.pack_into(f"<{field}", changed, at + offset, value)
    return bytes(changed)


@pytest.mark.parametrize(
    ("field", "offset", "value"),
    [("H", 4, 45), ("H", 6, 8), ("H", 8, 0), ("H", 10, 1), ("H", 12, 0x22), ("L", 14, 0), ("L", 18, 1), ("L", 22, 1)],
    ids=["version", "flags", "method", "time", "date", "sum", "stored size", "size"],
)
def test_a_member_that_is_described_in_two_ways(
    packed: Path, tmp_path: Path, field: str, offset: int, value: int
) -> None:
    """A reader that goes from front to back would see something else than one that reads the directory."""
    with zipfile.ZipFile(packed) as archive:
        at = archive.infolist()[1].header_offset
    packed.write_bytes(described_otherwise(packed.read_bytes(), at, field, offset, value))
    assert zipfile.ZipFile(packed).testzip() is None, "the zip reader sees nothing wrong"
    assert code_of(packed, tmp_path / "cache") == "bundle.two-contents"


def test_a_member_with_another_name_in_front_of_it(packed: Path, tmp_path: Path) -> None:
    data = packed.read_bytes()
    with zipfile.ZipFile(packed) as archive:
        at = archive.infolist()[1].header_offset + 30
    assert data[at : at + 7] == b"CARD.md"
    packed.write_bytes(data[:at] + b"card.py" + data[at + 7 :])
    assert code_of(packed, tmp_path / "cache") == "bundle.two-contents"


def test_an_extra_field_in_front_of_a_member(packed: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(packed) as archive:
        at = archive.infolist()[1].header_offset
    packed.write_bytes(described_otherwise(packed.read_bytes(), at, "H", 28, 4))
    assert code_of(packed, tmp_path / "cache") == "bundle.two-contents"


def test_members_that_overlap(packed: Path, tmp_path: Path) -> None:
    """How a small archive holds far more than its own size."""
    data = bytearray(packed.read_bytes())
    with zipfile.ZipFile(packed) as archive:
        at = archive.start_dir
        first, second = archive.infolist()[:2]
    struct.pack_into("<L", data, at + 46 + len(first.filename) + 42, first.header_offset)
    assert second.header_offset != first.header_offset
    packed.write_bytes(data)
    assert code_of(packed, tmp_path / "cache") == "bundle.surplus-bytes"


def test_a_count_of_members_that_is_not_theirs(packed: Path, tmp_path: Path) -> None:
    data = bytearray(packed.read_bytes())
    struct.pack_into("<HH", data, len(data) - 14, 60_000, 60_000)
    packed.write_bytes(data)
    assert code_of(packed, tmp_path / "cache") == "bundle.too-large"
    struct.pack_into("<HH", data, len(data) - 14, 9, 9)
    packed.write_bytes(data)
    assert code_of(packed, tmp_path / "cache") == "bundle.not-a-bundle"


def test_sixty_five_thousand_empty_members_are_not_looked_at(packed: Path, tmp_path: Path) -> None:
    def change(members: dict[str, bytes]) -> None:
        members.update({f"e/{number}": b"" for number in range(20_000)})

    assert code_of(rewrite(packed, change), tmp_path / "cache") == "bundle.too-large"


def test_a_size_that_is_only_claimed_allocates_nothing(packed: Path, tmp_path: Path) -> None:
    data = bytearray(packed.read_bytes())
    with zipfile.ZipFile(packed) as archive:
        at = archive.start_dir
    struct.pack_into("<LL", data, at + 20, 0x7FFF0000, 0x7FFF0000)
    packed.write_bytes(data)
    assert code_of(packed, tmp_path / "cache") == "bundle.surplus-bytes"


def test_members_are_in_the_order_of_their_names_wherever_they_lie(
    folder: Path, tmp_path: Path, tiny: Manifest
) -> None:
    """Not as a file system lists them: there what lies in a folder comes after the files beside it."""
    for name in ("z", "b", "a.txt", "artifacts/a", "artifacts-2"):
        (folder / name).write_text(name)
    pack(folder, tiny, tmp_path / "out.edgeai")
    with zipfile.ZipFile(tmp_path / "out.edgeai") as archive:
        first, *others = archive.namelist()
    assert first == "manifest.json"
    assert others == sorted(others)
    assert others != [*(name for name in others if "/" not in name), *(name for name in others if "/" in name)]


def test_other_processes_pack_the_same_bytes(folder: Path, packed: Path, tmp_path: Path, tiny: Manifest) -> None:
    """Whatever their umask, locale, time zone, hash seed, and order of files on the disk, and when these were made."""
    code = (
        "import os, sys, msgspec; from pathlib import Path; from edgeai.bundle.archive import pack;"
        "from edgeai.bundle.manifest import Manifest; os.umask(int(sys.argv[4], 8));"
        "pack(Path(sys.argv[1]), msgspec.json.decode(sys.argv[3], type=Manifest), Path(sys.argv[2]))"
    )
    digests = set()
    for number, (umask, seed, locale, zone) in enumerate(
        [
            ("077", "1", "C", "UTC"),
            ("000", "2", "de_DE.UTF-8", "Asia/Tokyo"),
            ("022", "random", "tr_TR", "America/Lima"),
        ]
    ):
        copy = tmp_path / f"copy-{number}"
        (copy / "artifacts").mkdir(parents=True)
        names = ["CARD.md", "artifacts/m.tflite"]
        for name in names if number else reversed(names):
            (copy / name).write_bytes((folder / name).read_bytes())
            os.utime(copy / name, (number * 1e9, number * 1e9))
        out = tmp_path / f"out-{number}.edgeai"
        subprocess.run(
            [sys.executable, "-c", code, str(copy), str(out), msgspec.json.encode(tiny).decode(), umask],
            env={**os.environ, "PYTHONHASHSEED": seed, "LC_ALL": locale, "TZ": zone},
            check=True,
        )
        digests.add(out.read_bytes())
    assert digests == {packed.read_bytes()}
