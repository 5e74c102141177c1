"""A blob comes whatever the server does, or it is said why not; what is half here goes on, and nothing wrong stays."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeai.api import BundleRejected
from edgeai.bundle.manifest import FileDecl
from edgeai.bundle.offers import PackedDecl, blob_path, pack_blob, unpacked
from edgeai.testing.repository import noise
from edgeai.testing.scripted_server import WAYS, ScriptedServer, Way
from edgeai_update.blobs import Blobs
from edgeai_update.errors import UpdateError
from edgeai_update.sources import FolderSource, Source
from edgeai_update.web import Manners, WebSource

CONTENT = noise("content", 200_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
QUICK = Manners(timeout_s=0.3, patience_s=0.3, least_bytes_per_s=1000.0)
"""For servers that are slow on purpose."""


@pytest.fixture
def public(tmp_path: Path) -> Path:
    (tmp_path / "public/metadata").mkdir(parents=True)
    (tmp_path / "public/blobs/sha256").mkdir(parents=True)
    return tmp_path / "public"


@pytest.fixture
def packed(public: Path) -> PackedDecl:
    return pack_blob([CONTENT], public / blob_path(SHA256))


@pytest.fixture
def server(public: Path, packed: PackedDecl) -> Iterator[ScriptedServer]:
    with ScriptedServer(public) as server:
        yield server


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path / "cart/blobs", sleep=lambda seconds: None)


def part(blobs: Blobs, packed: PackedDecl) -> Path:
    return blobs.folder / f"{packed.sha256}.part"


def half(blobs: Blobs, packed: PackedDecl, public: Path) -> int:
    """As a kill leaves it after half of it came."""
    blobs.folder.mkdir(parents=True)
    data = (public / blob_path(SHA256)).read_bytes()
    part(blobs, packed).write_bytes(data[: len(data) // 2])
    return len(data) // 2


def fetch(blobs: Blobs, source: Source, packed: PackedDecl) -> int:
    """How many bytes came."""
    came: list[int] = []
    try:
        blobs.fetch(source, SHA256, packed, came.append)
    finally:
        source.close()
    return sum(came)


def is_whole(blobs: Blobs, packed: PackedDecl) -> bool:
    path = blobs.whole(packed)
    declared = FileDecl(sha256=SHA256, bytes=len(CONTENT))
    return path is not None and b"".join(unpacked(path, packed, declared, "it")) == CONTENT


def test_a_blob_comes_and_is_called_by_its_digest(blobs: Blobs, packed: PackedDecl, server: ScriptedServer) -> None:
    assert fetch(blobs, WebSource(server.url), packed) == packed.bytes
    assert is_whole(blobs, packed)
    assert fetch(blobs, WebSource(server.url), packed) == 0
    assert len(server.asked) == 1


def test_what_is_half_here_goes_on(blobs: Blobs, packed: PackedDecl, server: ScriptedServer, public: Path) -> None:
    here = half(blobs, packed, public)
    assert blobs.lacking(packed) == packed.bytes - here
    assert fetch(blobs, WebSource(server.url), packed) == packed.bytes - here
    assert [each.offset for each in server.asked] == [here]
    assert is_whole(blobs, packed)


def test_from_a_folder_as_from_a_server(blobs: Blobs, packed: PackedDecl, public: Path) -> None:
    here = half(blobs, packed, public)
    assert fetch(blobs, FolderSource(public), packed) == packed.bytes - here
    assert is_whole(blobs, packed)


SURVIVED_WHEN_RESUMED = [
    *("ignores-range", "another-range", "range-of-nothing", "range-that-is-none", "range-of-other-bytes"),
    *("range-of-the-begin", "range-that-is-short", "multipart", "refuses-range"),
]


@pytest.mark.parametrize("how", SURVIVED_WHEN_RESUMED)
def test_a_server_that_lies_about_ranges_costs_a_whole_fetch_and_no_more(
    blobs: Blobs, packed: PackedDecl, server: ScriptedServer, public: Path, how: str
) -> None:
    half(blobs, packed, public)
    server.ways = [Way(how, ranged=True)]
    fetch(blobs, WebSource(server.url), packed)
    assert is_whole(blobs, packed)
    assert len(server.asked) <= 3


SURVIVED = ["chunked", "wrong-type", "closes", "length-that-is-none"]


@pytest.mark.parametrize("how", SURVIVED)
def test_an_answer_that_is_unusual_and_right_is_taken(
    blobs: Blobs, packed: PackedDecl, server: ScriptedServer, how: str
) -> None:
    server.ways = [Way(how)]
    fetch(blobs, WebSource(server.url), packed)
    assert is_whole(blobs, packed)


PASSING = ["half", "drops", "broken", "busy", "garbage", "many-headers", "long-header", "waits", "drips", "drips-head"]


@pytest.mark.parametrize("how", [*PASSING, "continues"])
def test_what_passes_is_tried_again(blobs: Blobs, packed: PackedDecl, server: ScriptedServer, how: str) -> None:
    server.ways = [Way(how, times=2)]
    fetch(blobs, WebSource(server.url, manners=QUICK), packed)
    assert is_whole(blobs, packed)


REFUSED = {
    "other-bytes": "update.altered",
    "page": "update.altered",
    "nothing": "update.altered",
    "shorter": "update.altered",
    "longer": "update.altered",
    "longer-chunked": "update.altered",
    "endless": "update.altered",
    "length-too-great": "update.altered",
    "length-too-small": "update.altered",
    "gzip": "update.encoded",
    "unpacked": "update.encoded",
    "partial-unasked": "update.wrong-range",
    "multipart": "update.wrong-range",
    "refuses-range": "update.refused",
    "elsewhere": "update.redirected",
    "elsewhere-for-ever": "update.redirected",
    "not-found": "update.missing",
    "gone": "update.missing",
    "forbidden": "update.missing",
    "unauthorised": "update.refused",
    "broken": "update.unreachable",
    "busy": "update.unreachable",
    "drops": "update.unreachable",
    "garbage": "update.unreachable",
    "many-headers": "update.unreachable",
    "long-header": "update.unreachable",
    "drips": "update.too-slow",
    "drips-head": "update.too-slow",
    "continues": "update.too-slow",
    "waits": "update.too-slow",
}


@pytest.mark.slow
@pytest.mark.parametrize("how", REFUSED)
def test_a_server_that_stays_so_is_refused_with_a_code_and_the_next_one_serves(
    blobs: Blobs, packed: PackedDecl, server: ScriptedServer, how: str
) -> None:
    server.ways = [Way(how)]
    with pytest.raises(UpdateError) as caught:
        fetch(blobs, WebSource(server.url, manners=QUICK), packed)
    assert caught.value.code == REFUSED[how]
    assert caught.value.remedy
    assert blobs.whole(packed) is None
    server.ways = []
    fetch(blobs, WebSource(server.url), packed)
    assert is_whole(blobs, packed)


def test_every_way_is_tried() -> None:
    whole_only = {"half", "ignores-range"}
    assert set(REFUSED) | set(SURVIVED) | set(SURVIVED_WHEN_RESUMED) | whole_only == set(WAYS)


def test_a_server_that_sends_a_part_each_time_is_followed_to_the_end(
    blobs: Blobs, packed: PackedDecl, server: ScriptedServer, public: Path
) -> None:
    """However often it breaks off: a try that brought something is not counted."""
    data = (public / blob_path(SHA256)).read_bytes()
    pieces = 12
    calls: list[int] = []

    def piece_by_piece(to: object, whole: bytes, offset: int) -> None:
        calls.append(offset)
        end = min(len(data), offset + len(data) // pieces + 1)
        told = {"Content-Length": str(len(data) - offset)}
        if offset:
            told["Content-Range"] = f"bytes {offset}-{len(data) - 1}/{len(data)}"
        to.answer(206 if offset else 200, data[offset:end], told)  # type: ignore[attr-defined]
        to.end()  # type: ignore[attr-defined]

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(WAYS, "pieces", piece_by_piece)
        server.ways = [Way("pieces")]
        fetch(blobs, WebSource(server.url), packed)
    assert is_whole(blobs, packed)
    assert len(calls) == pieces


@pytest.mark.parametrize("how", ["another-range", "range-of-other-bytes", "multipart"])
def test_a_server_that_breaks_off_and_lies_about_the_rest_is_given_up(
    blobs: Blobs, packed: PackedDecl, server: ScriptedServer, how: str
) -> None:
    """Each whole fetch brings half, each rest is wrong: that could go on for ever."""
    server.ways = [Way("half", ranged=False), Way(how, ranged=True)]
    with pytest.raises(UpdateError) as caught:
        fetch(blobs, WebSource(server.url), packed)
    assert caught.value.code in ("update.wrong-range", "update.altered")
    assert len(server.asked) < 20
    server.ways = []
    fetch(blobs, WebSource(server.url), packed)
    assert is_whole(blobs, packed)


def test_what_a_power_cut_made_of_a_half_is_fetched_anew_once(
    blobs: Blobs, packed: PackedDecl, server: ScriptedServer, public: Path
) -> None:
    here = half(blobs, packed, public)
    part(blobs, packed).write_bytes(bytes(here))
    fetch(blobs, WebSource(server.url), packed)
    assert [each.offset for each in server.asked] == [here, 0]
    assert is_whole(blobs, packed)


@pytest.mark.parametrize("length", ["more", "all"])
def test_a_half_that_is_too_long_or_wrong_at_full_length_is_fetched_anew(
    blobs: Blobs, packed: PackedDecl, server: ScriptedServer, length: str
) -> None:
    blobs.folder.mkdir(parents=True)
    part(blobs, packed).write_bytes(bytes(packed.bytes + (length == "more")))
    fetch(blobs, WebSource(server.url), packed)
    assert is_whole(blobs, packed)


def test_a_half_that_is_a_link_is_not_written_through(
    blobs: Blobs, packed: PackedDecl, server: ScriptedServer, tmp_path: Path
) -> None:
    blobs.folder.mkdir(parents=True)
    (tmp_path / "precious").write_bytes(b"precious")
    part(blobs, packed).symlink_to(tmp_path / "precious")
    with pytest.raises(UpdateError, match="cannot be written") as caught:
        fetch(blobs, WebSource(server.url), packed)
    assert caught.value.code == "update.unwritable"
    assert (tmp_path / "precious").read_bytes() == b"precious"


def test_what_nobody_waits_for_is_removed(blobs: Blobs, packed: PackedDecl, public: Path) -> None:
    half(blobs, packed, public)
    (blobs.folder / ("0" * 64 + ".part")).write_bytes(b"of a release that another one followed")
    (blobs.folder / ("1" * 64)).write_bytes(b"the same, whole")
    blobs.keep_only([packed])
    assert [path.name for path in blobs.folder.iterdir()] == [part(blobs, packed).name]


def test_a_link_is_not_filled_beyond_what_the_profile_gives(
    blobs: Blobs, packed: PackedDecl, server: ScriptedServer
) -> None:
    """By what it would sleep, not by the clock."""
    slept: list[float] = []
    manners = Manners(max_bytes_per_s=20_000)
    fetch(blobs, WebSource(server.url, manners=manners, sleep=slept.append), packed)
    assert is_whole(blobs, packed)
    assert len(slept) >= packed.bytes // 20_000
    assert max(slept) > 0.9


def test_one_connection_serves_many_files_and_is_made_anew_when_the_server_closed_it(
    public: Path, server: ScriptedServer
) -> None:
    for number in range(3):
        (public / f"metadata/{number}.json").write_bytes(b"x" * number)
    source = WebSource(server.url)
    peers = set()
    for number in range(3):
        reply = source.open(f"metadata/{number}.json")
        assert b"".join(reply.pieces) == b"x" * number
        reply.close()
        assert source._connection is not None
        peers.add(source._connection.sock.getsockname())
    assert len(peers) == 1
    server.ways = [Way("closes", times=1)]
    for _ in range(2):
        reply = source.open("metadata/2.json")
        assert b"".join(reply.pieces) == b"xx"
        reply.close()
    source.close()


def test_the_server_is_asked_for_the_bytes_as_they_are(
    blobs: Blobs, packed: PackedDecl, server: ScriptedServer
) -> None:
    fetch(blobs, WebSource(server.url), packed)
    assert server.asked[0].headers["Accept-Encoding"] == "identity"
    assert server.asked[0].headers["User-Agent"].startswith("edgeai/")


def test_a_blob_that_unpacks_to_more_is_never_unpacked_beyond_what_the_manifest_says(
    blobs: Blobs, public: Path, server: ScriptedServer
) -> None:
    """A bomb: as offered and signed, a thousand times as long as its manifest says."""
    bomb = zlib.compress(bytes(50_000_000), 9)
    packed = PackedDecl(sha256=hashlib.sha256(bomb).hexdigest(), bytes=len(bomb))
    (public / blob_path(SHA256)).write_bytes(bomb)
    blobs.fetch(WebSource(server.url), SHA256, packed, lambda count: None)
    whole = blobs.whole(packed)
    assert whole is not None
    given: list[int] = []

    def inflate() -> None:
        given.extend(len(piece) for piece in unpacked(whole, packed, FileDecl(sha256=SHA256, bytes=len(CONTENT)), "it"))

    with pytest.raises(BundleRejected, match="or more, the manifest says 200000"):
        inflate()
    assert sum(given) <= len(CONTENT)


def test_a_pipe_on_a_stick_holds_nobody_up_and_nothing_outside_it_is_read(tmp_path: Path, public: Path) -> None:
    os.mkfifo(public / "metadata/pipe.json")
    (tmp_path / "secret").write_text("secret")
    (public / "metadata/out.json").symlink_to(tmp_path / "secret")
    source = FolderSource(public)
    for path in ("metadata/pipe.json", "metadata/out.json", "../secret", "metadata", "metadata/absent.json"):
        with pytest.raises(UpdateError) as caught:
            source.open(path)
        assert caught.value.code == "update.missing"


def test_a_folder_that_holds_no_repository_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(UpdateError, match="there is no repository in"):
        FolderSource(tmp_path)


def test_a_role_whose_name_is_a_path_is_asked_for_under_its_quoted_name(public: Path, server: ScriptedServer) -> None:
    """python-tuf quotes what it asks for: quoted once more, it is a file that no server has."""
    (public / "metadata/1.a").mkdir()
    (public / "metadata/1.a/b.json").write_bytes(b"{}")
    (public.parent / "secret").write_text("secret")
    for source in (FolderSource(public), WebSource(server.url, proxy="")):
        reply = source.open("metadata/1.a%2Fb.json")
        assert b"".join(reply.pieces) == b"{}"
        reply.close()
        with pytest.raises(UpdateError) as caught:
            source.open("metadata/..%2F..%2Fsecret")
        assert caught.value.code == "update.missing"
        source.close()
