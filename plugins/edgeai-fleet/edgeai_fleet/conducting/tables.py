"""The tables of a conductor's store."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

TABLES: Final = sa.MetaData()
CARTS: Final = sa.Table(
    "carts",
    TABLES,
    sa.Column("site", sa.String(64), primary_key=True),
    sa.Column("device", sa.String(64), primary_key=True),
    sa.Column("cart", sa.Text, nullable=False),
)
RESULTS: Final = sa.Table(
    "shown",
    TABLES,
    sa.Column("rollout", sa.String(64), primary_key=True),
    sa.Column("site", sa.String(64), primary_key=True),
    sa.Column("device", sa.String(64), primary_key=True),
    sa.Column("result_id", sa.String(64), primary_key=True),
)
ENDS: Final = sa.Table(
    "ends",
    TABLES,
    sa.Column("digest", sa.String(80), primary_key=True),
    sa.Column("site", sa.String(64), primary_key=True),
    sa.Column("device", sa.String(64), primary_key=True),
    sa.Column("move", sa.String(40), nullable=False),
    sa.Column("code", sa.Text, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
)
VERDICTS: Final = sa.Table(
    "verdicts",
    TABLES,
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
TIMES: Final = sa.Table(
    "times",
    TABLES,
    sa.Column("name", sa.String(160), primary_key=True),
    sa.Column("at", sa.Float, nullable=False),
)
ITSELF: Final = sa.Table(
    "itself",
    TABLES,
    sa.Column("what", sa.String(16), primary_key=True),
    sa.Column("value", sa.String(64), nullable=False),
)
