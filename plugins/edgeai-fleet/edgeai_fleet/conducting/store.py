"""What a conductor remembers, in SQLite or PostgreSQL: carts, results and ends heard, times of phases, verdicts.

Each round is one transaction. Whatever dies in between, the next round does it again from what was written and from
what the broker retains; nothing here is needed to know the truth but counts of results and times.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from edgeai.api.errors import ConfigError
from edgeai_fleet.conducting.carts import Cart, Ended, EndHeard, Heard, decode, encode
from edgeai_fleet.conducting.judging import Kept, Verdict

SQLITE_NAME: Final = ".conduct.sqlite"
_LOCK: Final = 0x6564_6765_6169
_TABLES: Final = sa.MetaData()
_CARTS: Final = sa.Table(
    "carts",
    _TABLES,
    sa.Column("site", sa.String(64), primary_key=True),
    sa.Column("device", sa.String(64), primary_key=True),
    sa.Column("cart", sa.Text, nullable=False),
)
_RESULTS: Final = sa.Table(
    "results",
    _TABLES,
    sa.Column("digest", sa.String(80), primary_key=True),
    sa.Column("site", sa.String(64), primary_key=True),
    sa.Column("device", sa.String(64), primary_key=True),
    sa.Column("result_id", sa.String(64), primary_key=True),
)
_ENDS: Final = sa.Table(
    "ends",
    _TABLES,
    sa.Column("digest", sa.String(80), primary_key=True),
    sa.Column("site", sa.String(64), primary_key=True),
    sa.Column("device", sa.String(64), primary_key=True),
    sa.Column("move", sa.String(40), nullable=False),
    sa.Column("code", sa.Text, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
)
_VERDICTS: Final = sa.Table(
    "verdicts",
    _TABLES,
    sa.Column("rollout", sa.String(64), primary_key=True),
    sa.Column("site", sa.String(64), primary_key=True),
    sa.Column("device", sa.String(64), primary_key=True),
    sa.Column("phase", sa.Integer, nullable=False),
    sa.Column("word", sa.String(16), nullable=False),
    sa.Column("code", sa.Text, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("stage", sa.Text, nullable=False),
    sa.Column("since", sa.Float, nullable=False),
)
_TIMES: Final = sa.Table(
    "times",
    _TABLES,
    sa.Column("name", sa.String(160), primary_key=True),
    sa.Column("at", sa.Float, nullable=False),
)


class Store:
    """One store; many conductors may share one of PostgreSQL, each hearing sites of its own.

    Args:
        url: ``sqlite:///FILE`` or ``postgresql+psycopg://...``; ``postgresql://`` is taken as the latter.

    Raises:
        ConfigError: ``fleet.store``.
    """

    def __init__(self, url: str) -> None:
        with _told(url):
            self._engine = sa.create_engine(_with_driver(url), pool_pre_ping=True)
            if self._engine.dialect.name == "sqlite":
                sa.event.listen(self._engine, "connect", _prepare_sqlite)
            _TABLES.create_all(self._engine)
        self._url = url
        self._lock: sa.Connection | None = None

    def close(self) -> None:
        """Let go of it. Twice is fine."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None
        self._engine.dispose()

    def hold(self) -> bool:
        """Be the only one that decides by this store, for as long as this process lives; whether it could be.

        Of SQLite always: the folder's own lock is enough where the store lies in it.
        """
        if self._engine.dialect.name != "postgresql":
            return True
        with _told(self._url):
            self._lock = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            return bool(self._lock.scalar(sa.select(sa.func.pg_try_advisory_lock(_LOCK))))

    @contextmanager
    def round(self) -> Iterator[Round]:
        """One transaction: all of it is written at its end, or nothing.

        Raises:
            ConfigError: ``fleet.store``: it cannot be reached or written now.
        """
        with _told(self._url), self._engine.begin() as connection:
            yield Round(connection)


class Round:
    """What is read and written in one transaction."""

    def __init__(self, connection: sa.Connection) -> None:
        self._db = connection
        self._insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert

    def carts(self) -> dict[tuple[str, str], Cart]:
        """Every cart by site and device."""
        rows = self._db.execute(sa.select(_CARTS))
        return {(row.site, row.device): decode(row.cart) for row in rows}

    def keep_carts(self, carts: Iterable[Cart]) -> None:
        """Carts as they are now."""
        self._put(_CARTS, [{"site": cart.site, "device": cart.device, "cart": encode(cart)} for cart in carts])

    def add_results(self, results: Sequence[Heard]) -> None:
        """Results that were heard; one that is known already counts once."""
        rows = [{name: getattr(each, name) for name in Heard.__slots__} for each in results]
        if rows:
            self._db.execute(self._insert(_RESULTS).on_conflict_do_nothing(), rows)

    def results(self, digest: str) -> dict[tuple[str, str], int]:
        """Of a digest, how many were heard by cart."""
        counted = sa.func.count().label("results")
        query = sa.select(_RESULTS.c.site, _RESULTS.c.device, counted).where(_RESULTS.c.digest == digest)
        rows = self._db.execute(query.group_by(_RESULTS.c.site, _RESULTS.c.device))
        return {(row.site, row.device): row.results for row in rows}

    def add_ends(self, ends: Iterable[EndHeard]) -> None:
        """Ends that were heard; of a cart and a digest the last counts."""
        last = {(each.ended.digest, each.site, each.device): each for each in ends}
        rows = [
            {"digest": digest, "site": site, "device": device, "move": each.ended.move}
            | {"code": each.ended.code or "", "why": each.ended.why or ""}
            for (digest, site, device), each in last.items()
        ]
        self._put(_ENDS, rows)

    def ends(self, digest: str) -> dict[tuple[str, str], Ended]:
        """Of a digest, how it ended by cart."""
        rows = self._db.execute(sa.select(_ENDS).where(_ENDS.c.digest == digest))
        return {(row.site, row.device): Ended(move=row.move, digest=digest, code=row.code, why=row.why) for row in rows}

    def verdicts(self, rollout: str) -> dict[tuple[str, str], Kept]:
        """As they were kept last."""
        rows = self._db.execute(sa.select(_VERDICTS).where(_VERDICTS.c.rollout == rollout))
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
        self._put(_VERDICTS, rows)

    def time(self, name: str) -> float | None:
        """A moment that was kept."""
        return self._db.scalar(sa.select(_TIMES.c.at).where(_TIMES.c.name == name))

    def keep_time(self, name: str, at: float) -> None:
        """Keep a moment, in place of what it was."""
        self._put(_TIMES, [{"name": name, "at": at}])

    def first_time(self, name: str, at: float) -> float:
        """A moment, kept the first time and the same ever after."""
        self._db.execute(self._insert(_TIMES).values(name=name, at=at).on_conflict_do_nothing())
        kept = self.time(name)
        return at if kept is None else kept

    def _put(self, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
        if not rows:
            return
        statement = self._insert(table)
        changes = {each.name: statement.excluded[each.name] for each in table.columns if not each.primary_key}
        statement = statement.on_conflict_do_update(index_elements=list(table.primary_key.columns), set_=changes)
        self._db.execute(statement, list(rows))


def url_of(folder: Path, url: str | None) -> str:
    """The store that was asked for, or a file in the repository's folder."""
    return url or f"sqlite:///{(folder / SQLITE_NAME).absolute()}"


def _with_driver(url: str) -> str:
    for scheme in ("postgresql://", "postgres://"):
        if url.startswith(scheme):
            return f"postgresql+psycopg://{url.removeprefix(scheme)}"
    return url


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA busy_timeout=10000")


@contextmanager
def _told(url: str) -> Iterator[None]:
    """What the database or its driver refuses, in one sentence without a password.

    Raises:
        ConfigError: ``fleet.store``.
    """
    try:
        yield
    except (SQLAlchemyError, ModuleNotFoundError) as error:
        reason = error.orig if isinstance(error, DBAPIError) else error
        remedy = "check --store, that its server runs, and that this user may write there"
        if isinstance(error, ModuleNotFoundError | NoSuchModuleError | ArgumentError):
            remedy = "give sqlite:///FILE, or postgresql://USER@HOST/NAME with `pip install edgeai-fleet[postgresql]`"
        what = str(reason).strip().splitlines()[0] if str(reason).strip() else type(error).__name__
        raise ConfigError(f"the conductor's store {_shown(url)}: {what}", code="fleet.store", remedy=remedy) from error


def _shown(url: str) -> str:
    try:
        return sa.make_url(url).render_as_string(hide_password=True)
    except SQLAlchemyError:
        return "(no URL)"
