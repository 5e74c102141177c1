"""Where a conductor's store lies: SQLite or PostgreSQL, by its URL; and what it refuses, in one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from edgeai.api.errors import ConfigError

SQLITE_NAME: Final = ".conduct.sqlite"
_LIVELY: Final = {
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}
"""A server that is gone without a word is noticed within half a minute, and so it notices this side (`_prepare`)."""


def url_of(folder: Path, url: str | None) -> str:
    """The store that was asked for, or a file in the repository's folder."""
    return url or f"sqlite:///{(folder / SQLITE_NAME).absolute()}"


def open_database(url: str) -> sa.Engine:
    """An engine; nothing is asked of the database yet.

    Args:
        url: ``sqlite:///FILE`` or ``postgresql+psycopg://...``; ``postgresql://`` is taken as the latter.
    """
    place = sa.make_url(_with_driver(url))
    if not is_shared(place):
        engine = sa.create_engine(place, pool_pre_ping=True)
        if engine.dialect.name == "sqlite":
            sa.event.listen(engine, "connect", _prepare_sqlite)
        return engine
    lively = {key: value for key, value in _LIVELY.items() if key not in place.query}
    engine = sa.create_engine(place, pool_pre_ping=True, connect_args=lively)
    sa.event.listen(engine, "connect", _prepare)
    return engine


def is_shared(place: sa.URL) -> bool:
    """Whether several hosts may have it."""
    return place.get_backend_name() == "postgresql"


@contextmanager
def told(url: str) -> Iterator[None]:
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


def _with_driver(url: str) -> str:
    for scheme in ("postgresql://", "postgres://"):
        if url.startswith(scheme):
            return f"postgresql+psycopg://{url.removeprefix(scheme)}"
    return url


def _prepare(connection: Any, _record: object) -> None:
    """The server lets go of what this session holds when this machine is gone without a word (TCP alone asks)."""
    with connection.cursor() as cursor:
        for key in ("idle", "interval", "count"):
            cursor.execute(f"SET tcp_keepalives_{key} = {_LIVELY[f'keepalives_{key}']}")
    connection.commit()


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA busy_timeout=10000")


def _shown(url: str) -> str:
    try:
        return sa.make_url(url).render_as_string(hide_password=True)
    except SQLAlchemyError:
        return "(no URL)"
