"""What a conductor remembers, in SQLite and in a real PostgreSQL server alike."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeai.api.errors import ConfigError
from edgeai.testing.broker import free_port
from edgeai.testing.require import require
from edgeai_fleet.conducting.carts import Cart, Ended, EndHeard, Heard, Status
from edgeai_fleet.conducting.judging import Kept, Verdict
from edgeai_fleet.conducting.store import Store


def find_postgres() -> Path | None:
    """The folder of its programs, of the newest version that is here."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    return programs[-1].parent if programs else None


class Postgres:
    """A server on a loopback port whose only user needs no password."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        self._at = Path(tempfile.mkdtemp(prefix="edgeai-postgresql-"))
        self._who: dict[str, Any] = {}
        if os.geteuid() == 0:  # it refuses to be root
            user = pwd.getpwnam("postgres")
            os.chown(self._at, user.pw_uid, user.pw_gid)
            self._who = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        self._data, self._port = self._at / "data", free_port()

    @property
    def url(self) -> str:
        return f"postgresql://edgeai@127.0.0.1:{self._port}/postgres"

    def __enter__(self) -> Postgres:
        self._do("initdb", "-D", self._data, "-U", "edgeai", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C")
        options = f"-p {self._port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self._at} -c fsync=off"
        self._do("pg_ctl", "-D", self._data, "-w", "-t", "300", "-l", self._at / "log", "-o", options, "start")
        return self

    def __exit__(self, *_: object) -> None:
        self._do("pg_ctl", "-D", self._data, "-m", "immediate", "stop")
        shutil.rmtree(self._at, ignore_errors=True)

    def _do(self, program: str, *words: str | Path) -> None:
        with (self._at / f"{program}.out").open("wb") as out:  # the server keeps it open: no pipe
            done = subprocess.run(
                [self._programs / program, *words], stdout=out, stderr=out, cwd=self._at, check=False, **self._who
            )
        assert done.returncode == 0, (self._at / f"{program}.out").read_text()


CART = Cart(site="ward", device="cart-1", status=Status(state="online", edgeai_version="0.2.0"), heard_at=5.0)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path_factory.mktemp('store')}/conduct.sqlite"
        return
    programs = find_postgres()
    require("postgresql", programs is not None, "Debian's package postgresql is not installed")
    assert programs is not None
    with Postgres(programs) as server:
        yield server.url


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    store = Store(url)
    yield store
    store.close()


def test_carts_are_kept_with_the_newest_of_each_and_read_by_another_process(store: Store, url: str) -> None:
    away = Cart(site="ward", device="cart-1", status=CART.status, heard_at=9.0, is_online=False)
    with store.round() as kept:
        kept.keep_carts([CART])
        kept.keep_carts([away])
    other = Store(url)
    with other.round() as kept:
        assert kept.carts() == {("ward", "cart-1"): away}
    other.close()


def test_a_result_counts_once_however_often_it_is_heard(store: Store) -> None:
    results = [Heard(digest="new", site="ward", device="cart-1", result_id=name) for name in ("a", "b", "a")]
    for _ in range(2):
        with store.round() as kept:
            kept.add_results(results)
            kept.add_results([Heard(digest="old", site="ward", device="cart-1", result_id="a")])
    with store.round() as kept:
        assert kept.results("new") == {("ward", "cart-1"): 2}
        assert kept.results("none") == {}


def test_of_ends_the_last_of_a_cart_and_a_digest_is_kept(store: Store) -> None:
    first = Ended(move="failed", digest="new", code="slots.slow", why="slow")
    last, other = Ended(move="damaged", digest="new", code="", why=""), Ended(move="failed", digest="old")
    with store.round() as kept:
        kept.add_ends(EndHeard(site="ward", device="cart-1", ended=each) for each in (first, other, last))
    with store.round() as kept:
        kept.add_ends([])
        assert kept.ends("new") == {("ward", "cart-1"): last}
        assert kept.ends("none") == {}


def test_a_verdict_replaces_the_one_before_and_only_of_its_rollout(store: Store) -> None:
    first = Kept(site="ward", device="cart-1", phase=1, verdict=Verdict(word="waiting"), since=1.0)
    then = Kept(site="ward", device="cart-1", phase=1, verdict=Verdict(word="failed", code="slots.slow"), since=2.0)
    with store.round() as kept:
        kept.keep_verdicts("one", [first])
        kept.keep_verdicts("two", [first])
    with store.round() as kept:
        kept.keep_verdicts("one", [then])
    with store.round() as kept:
        assert kept.verdicts("one") == {("ward", "cart-1"): then}
        assert kept.verdicts("two") == {("ward", "cart-1"): first}


def test_a_first_time_stays_and_another_does_not(store: Store) -> None:
    with store.round() as kept:
        assert kept.time("never") is None
        assert (kept.first_time("opened", 1.0), kept.first_time("opened", 2.0)) == (1.0, 1.0)
        kept.keep_time("listened", 1.0)
        kept.keep_time("listened", 2.0)
        assert kept.time("listened") == 2.0


def test_a_round_that_is_cut_leaves_nothing(store: Store) -> None:
    def cut() -> None:
        with store.round() as kept:
            kept.keep_time("cut", 1.0)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cut()
    with store.round() as kept:
        assert kept.time("cut") is None


def test_of_a_shared_store_one_decides_and_lets_go_with_its_end(url: str) -> None:
    first, second = Store(url), Store(url)
    assert first.hold()
    assert second.hold() is not url.startswith("postgresql"), "of SQLite the folder is held"
    first.close()
    second.close()
    third = Store(url)
    assert third.hold()
    third.close()


@pytest.mark.parametrize(
    "url",
    ["nonsense", "", "mysql://somewhere/there", "sqlite:////no/such/folder/x", "postgresql://u:secret@127.0.0.1:1/x"],
)
def test_a_store_that_cannot_be_is_told_and_no_password_with_it(url: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Store(url)
    assert refused.value.code == "fleet.store"
    assert "secret" not in str(refused.value)


def test_a_store_that_is_damaged_is_told(tmp_path: Path) -> None:
    (tmp_path / "store").write_bytes(b"no database " * 1000)
    with pytest.raises(ConfigError, match="conductor's store") as refused:
        Store(f"sqlite:///{tmp_path}/store")
    assert refused.value.code == "fleet.store"
