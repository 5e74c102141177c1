"""What a conductor remembers, in SQLite or PostgreSQL: carts, results and ends heard, times of phases, verdicts.

Each round is one transaction. Whatever dies in between, the next round does it again from what was written and from
what the broker retains; nothing here is needed to know the truth but counts of results and times.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError

from edgeai_fleet.conducting.carts import Cart, Ended, EndHeard, Heard, decode, encode
from edgeai_fleet.conducting.databases import is_shared, open_database, told
from edgeai_fleet.conducting.judging import Kept, Verdict
from edgeai_fleet.conducting.tables import CARTS, ENDS, ITSELF, RESULTS, TABLES, TIMES, VERDICTS

_AT_ONCE: Final = 400
"""Carts in one question."""
_REVISION: Final = "revision"
_LOCK: Final = 0x6564_6765_6169
"""Of the one that signs. The next number: held while tables are made."""


class Store:
    """One store; many conductors may share one of PostgreSQL, each hearing sites of its own.

    Attributes:
        name: of a store that several hosts share, its own; empty for SQLite.

    Args:
        url: ``sqlite:///FILE`` or ``postgresql+psycopg://...``; ``postgresql://`` is taken as the latter.

    Raises:
        ConfigError: ``fleet.store``.
    """

    def __init__(self, url: str) -> None:
        with told(url):
            self._engine = open_database(url)
            self._is_shared = is_shared(self._engine.url)
            name = self._make_tables()
            self.name = name if self._is_shared else ""
        self._url = url
        self._lock: sa.Connection | None = None

    def close(self) -> None:
        """Let go of it. Twice is fine."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None
        self._engine.dispose()

    def hold(self) -> bool:
        """Be the only one that decides by this store; whether this one is. Asked again before each step.

        PostgreSQL's advisory lock belongs to a session: it is free as soon as the server no longer has that, and asked
        again within it, it is held. Of SQLite always: the folder's own lock is enough where the store lies in it.

        Raises:
            ConfigError: ``fleet.store``.
        """
        if not self._is_shared:
            return True
        with told(self._url):
            if self._lock is not None:
                try:
                    return self._try_lock(self._lock)
                except DBAPIError:  # that session is over, and another may have become the one since
                    self._lock.invalidate()
                    self._lock.close()
                    self._lock = None
            lock = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            self._lock = lock
            return self._try_lock(lock)

    @contextmanager
    def round(self) -> Iterator[Round]:
        """One transaction: all of it is written at its end, or nothing.

        Raises:
            ConfigError: ``fleet.store``: it cannot be reached or written now.
        """
        with told(self._url), self._engine.begin() as connection:
            yield Round(connection)

    def _try_lock(self, connection: sa.Connection) -> bool:
        return bool(connection.scalar(sa.select(sa.func.pg_try_advisory_lock(_LOCK))))

    def _make_tables(self) -> str:
        """What is lacking, by one of those that start at once; the store's name."""
        with self._engine.begin() as connection:
            if self._is_shared:
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK + 1)))
            for table in TABLES.sorted_tables:
                connection.execute(sa.schema.CreateTable(table, if_not_exists=True))
            own = _insert_of(connection)(ITSELF).values(what="name", value=secrets.token_hex(8))
            connection.execute(own.on_conflict_do_nothing())
            return str(connection.scalar(sa.select(ITSELF.c.value).where(ITSELF.c.what == "name")))


class Round:
    """What is read and written in one transaction."""

    def __init__(self, connection: sa.Connection) -> None:
        self._db = connection
        self._insert = _insert_of(connection)

    def carts(self, sites: Sequence[str] = ()) -> dict[tuple[str, str], Cart]:
        """Every cart by site and device; of some sites."""
        query = sa.select(CARTS)
        rows = self._db.execute(query.where(CARTS.c.site.in_(sites)) if sites else query)
        return {(row.site, row.device): decode(row.cart) for row in rows}

    def keep_carts(self, carts: Iterable[Cart]) -> None:
        """Carts as they are now."""
        self._put(CARTS, [{"site": cart.site, "device": cart.device, "cart": encode(cart)} for cart in carts])

    def add_results(self, rollout: str, results: Iterable[Heard]) -> None:
        """Results that were heard for a rollout; one that is known already counts once."""
        names = ("site", "device", "result_id")
        rows = [{"rollout": rollout, **{name: getattr(each, name) for name in names}} for each in results]
        if rows:
            self._db.execute(self._insert(RESULTS).on_conflict_do_nothing(), _in_order(RESULTS, rows))

    def forget_results(self, but: Iterable[str]) -> None:
        """Drop all but those of these rollouts."""
        self._db.execute(sa.delete(RESULTS).where(RESULTS.c.rollout.not_in(sorted(but))))

    def results(self, rollout: str, places: Iterable[tuple[str, str]] | None = None) -> dict[tuple[str, str], int]:
        """Of a rollout, how many were heard by cart; of these carts alone, or of all."""
        counted = sa.func.count().label("results")
        query = sa.select(RESULTS.c.site, RESULTS.c.device, counted).where(RESULTS.c.rollout == rollout)
        query = query.group_by(RESULTS.c.site, RESULTS.c.device)
        if places is None:
            queries = [query]
        else:
            some, of = list(places), sa.tuple_(RESULTS.c.site, RESULTS.c.device)
            queries = [query.where(of.in_(some[at : at + _AT_ONCE])) for at in range(0, len(some), _AT_ONCE)]
        return {(row.site, row.device): row.results for each in queries for row in self._db.execute(each)}

    def add_ends(self, ends: Iterable[EndHeard]) -> None:
        """Ends that were heard; of a cart and a digest the last counts."""
        last = {(each.ended.digest, each.site, each.device): each for each in ends}
        rows = [
            {"digest": digest, "site": site, "device": device, "move": each.ended.move}
            | {"code": each.ended.code or "", "why": each.ended.why or ""}
            for (digest, site, device), each in last.items()
        ]
        self._put(ENDS, rows)

    def ends(self, digest: str) -> dict[tuple[str, str], Ended]:
        """Of a digest, how it ended by cart."""
        rows = self._db.execute(sa.select(ENDS).where(ENDS.c.digest == digest))
        return {(row.site, row.device): Ended(move=row.move, digest=digest, code=row.code, why=row.why) for row in rows}

    def verdicts(self, rollout: str) -> dict[tuple[str, str], Kept]:
        """As they were kept last."""
        rows = self._db.execute(sa.select(VERDICTS).where(VERDICTS.c.rollout == rollout))
        return {
            (row.site, row.device): Kept(
                site=row.site,
                device=row.device,
                phase=row.phase,
                verdict=Verdict(word=row.word, code=row.code, why=row.why, stage=row.stage),
                since=row.since,
            )
            for row in rows
        }

    def keep_verdicts(self, rollout: str, verdicts: Iterable[Kept]) -> None:
        """Verdicts that changed."""
        rows: list[dict[str, Any]] = [
            {
                "rollout": rollout,
                "site": each.site,
                "device": each.device,
                "phase": each.phase,
                **{name: getattr(each.verdict, name) for name in Verdict.__slots__},
                "since": each.since,
            }
            for each in verdicts
        ]
        self._put(VERDICTS, rows)

    def end_verdicts(self, rollout: str, verdicts: Iterable[Kept]) -> None:
        """Verdicts as they stay: these and no others."""
        self._db.execute(sa.delete(VERDICTS).where(VERDICTS.c.rollout == rollout))
        self.keep_verdicts(rollout, verdicts)

    def revision(self) -> float:
        """A number that rises with each round that wrote something, whoever's it was."""
        return self.time(_REVISION) or 0.0

    def rises(self) -> float:
        """This round wrote something; the number from now on."""
        statement = self._insert(TIMES).values(name=_REVISION, at=1.0)
        changes = {"at": TIMES.c.at + 1.0}
        statement = statement.on_conflict_do_update(index_elements=[TIMES.c.name], set_=changes)
        return float(self._db.scalar(statement.returning(TIMES.c.at)))

    def time(self, name: str) -> float | None:
        """A moment that was kept."""
        return self._db.scalar(sa.select(TIMES.c.at).where(TIMES.c.name == name))

    def times(self, begins: str) -> dict[str, float]:
        """All moments whose names begin so, by what follows."""
        rows = self._db.execute(sa.select(TIMES).where(TIMES.c.name.startswith(begins, autoescape=True)))
        return {row.name.removeprefix(begins): row.at for row in rows}

    def keep_time(self, name: str, at: float) -> None:
        """Keep a moment, in place of what it was."""
        self._put(TIMES, [{"name": name, "at": at}])

    def first_time(self, name: str, at: float) -> float:
        """A moment, kept the first time and the same ever after."""
        self._db.execute(self._insert(TIMES).values(name=name, at=at).on_conflict_do_nothing())
        kept = self.time(name)
        return at if kept is None else kept

    def highest(self, number: int) -> int:
        """The highest version of the timestamp that a conductor of this store has seen published; with this one."""
        before = int(self.time("published version") or 0)
        if number > before:  # not written again each round: conductors would wait for one another's
            self.keep_time("published version", number)
        return max(number, before)

    def _put(self, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
        if not rows:
            return
        statement = self._insert(table)
        changes = {each.name: statement.excluded[each.name] for each in table.columns if not each.primary_key}
        statement = statement.on_conflict_do_update(index_elements=list(table.primary_key.columns), set_=changes)
        self._db.execute(statement, _in_order(table, rows))


def _insert_of(connection: sa.Connection) -> Any:
    """SQL's insert, with what is to be done where a row is there already."""
    return postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert


def _in_order(table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Rows by their keys: two conductors that write the same ones wait for one another, and neither for ever."""
    keys = [column.name for column in table.primary_key.columns]
    return sorted(rows, key=lambda row: tuple(row[key] for key in keys))
