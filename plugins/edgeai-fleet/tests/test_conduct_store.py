"""What a conductor remembers, in SQLite and in a real PostgreSQL server alike."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

from edgeai.api.errors import ConfigError
from edgeai.testing.postgres import Postgres, find_postgres
from edgeai.testing.require import require
from edgeai_fleet.conducting.carts import Cart, Ended, EndHeard, Heard, Status
from edgeai_fleet.conducting.holding import Seat
from edgeai_fleet.conducting.judging import Kept, Verdict
from edgeai_fleet.conducting.listening import listen
from edgeai_fleet.conducting.store import Store
from edgeai_fleet.layout import Folder

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
            kept.add_results("new", results)
            kept.add_results("old", results[:1])
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


def test_carts_of_some_sites_and_moments_by_how_they_begin(store: Store) -> None:
    other = Cart(site="icu", device="cart-1", status=CART.status, heard_at=1.0)
    with store.round() as kept:
        kept.keep_carts([CART, other])
        kept.keep_time("begins_a", 1.0)
        kept.keep_time("beginsXb", 2.0)
    with store.round() as kept:
        assert set(kept.carts(("icu", "none"))) == {("icu", "cart-1")}
        assert kept.times("begins_") == {"a": 1.0}, "the underscore is no pattern"


def test_the_highest_version_that_was_published_is_remembered(store: Store) -> None:
    with store.round() as kept:
        assert [kept.highest(number) for number in (3, 2, 7, 1)] == [3, 3, 7, 7]


def test_who_listens_is_known_by_site_and_a_gap_begins_anew(store: Store) -> None:
    with store.round() as kept:
        listen(kept, ("north",), 1000.0)
        both = listen(kept, ("south",), 1200.0)
        assert (both.of("north"), both.of("south"), both.of("west")) == (1000.0, 1200.0, 1200.0)
        assert both.deaf(["north", "south", "west", "west"]) == ["west"]
        late = listen(kept, ("south",), 1400.0)
        assert (late.of("north"), late.of("south")) == (1400.0, 1200.0), "nobody has heard the north for 400 s"
        assert late.deaf(["north", "south"]) == ["north"]
        again = listen(kept, ("north",), 1500.0)
        assert (again.of("north"), again.of("south")) == (1500.0, 1200.0)
        every = listen(kept, (), 1600.0)
        assert (every.of("west"), every.of("south")) == (1600.0, 1200.0)
        assert every.deaf(["west"]) == []


@pytest.mark.parametrize("every", [600.0, 1800.0, 86_400.0])
def test_who_comes_in_a_rhythm_listens_and_who_misses_a_visit_begins_anew(store: Store, every: float) -> None:
    site = f"site-{every:.0f}"
    with store.round() as kept:
        first = 1e9  # after all that was kept before
        assert listen(kept, (site,), first).of(site) == first
        second = first + every
        assert listen(kept, (site,), second).of(site) == second, "nobody knew that it would come again"
        assert listen(kept, (site,), second + every).of(site) == second
        assert listen(kept, ("other",), second + 2 * every).of(site) == second, "as others see it"
        late = second + 3 * every
        assert listen(kept, (site,), late).of(site) == late
        assert listen(kept, (site,), late + every).of(site) == late
        months = [late + number * 30 * 86_400.0 for number in (1, 2)]
        assert [listen(kept, (site,), at).of(site) for at in months] == months
        stays = months[-1] + 5.0
        assert listen(kept, (site,), stays).of(site) == months[-1]
        assert listen(kept, (site,), stays + 600.0).of(site) == stays + 600.0


def test_of_a_shared_store_one_decides_and_lets_go_with_its_end(url: str) -> None:
    first, second = Store(url), Store(url)
    assert (first.hold(), first.hold()) == (True, True)
    assert second.hold() is not url.startswith("postgresql"), "of SQLite the folder is held"
    first.close()
    assert second.hold()
    second.close()


def test_of_two_copies_of_a_folder_one_signs_where_the_store_is_shared(url: str, tmp_path: Path) -> None:
    stores = [Store(url), Store(url)]
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    first, second = (Seat(Folder(tmp_path / name), store) for name, store in zip(("one", "two"), stores, strict=True))
    assert (first.take(), first.take()) == (True, True)
    assert second.take() is not url.startswith("postgresql")
    assert not Seat(Folder(tmp_path / "one"), stores[0]).take(), "the folder is held, whatever the store says"
    stores[0].close()
    assert second.take()
    for seat, store in zip((first, second), stores, strict=True):
        seat.leave()
        store.close()


def test_who_lost_its_session_is_not_the_one_any_more_unless_nobody_is(url: str) -> None:
    first, second = Store(url), Store(url)
    assert first.hold()
    if url.startswith("sqlite"):  # without a server there is no session to lose
        return
    _end_all_sessions(url)
    assert second.hold(), "the server let go"
    assert not first.hold()
    _end_all_sessions(url)
    assert first.hold()
    assert not second.hold()
    first.close()
    second.close()


def _end_all_sessions(url: str) -> None:
    engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        ended = "select pg_terminate_backend(pid, 60000) from pg_stat_activity where pid <> pg_backend_pid()"
        connection.execute(sa.text(f"{ended} and backend_type = 'client backend'"))
    engine.dispose()


def test_a_shared_store_has_a_name_and_two_may_begin_at_once(url: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        stores = list(pool.map(Store, [url] * 4))
    names = {store.name for store in stores}
    for store in stores:
        store.close()
    assert len(names) == 1
    assert bool(names.pop()) == url.startswith("postgresql")


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
