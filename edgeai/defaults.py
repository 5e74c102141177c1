"""What a profile means that says nothing: each number once, for its tables and for those who are used without one."""

from __future__ import annotations

from typing import Final, Literal

# The spool.
RESERVE_BYTES: Final = 1_000_000_000
MAX_INSTANCE_BYTES: Final = 2_000_000_000
MAX_BACKLOG: Final = 100_000
KEEP_FILES: Final[Literal["failed"]] = "failed"
MAX_FAILED_BYTES: Final = 5_000_000_000
MAX_HELD: Final = 10_000
MAX_HELD_BYTES: Final = 20_000_000_000
MAX_SET_ASIDE: Final = 1000
KEEP_ROWS_DAYS: Final = 30

# Arrival.
LOOPBACK: Final = "127.0.0.1"
SCP_PORT: Final = 11112
MAX_ASSOCIATIONS: Final = 10
MAX_ASSOCIATIONS_PER_HOST: Final = 8
IDLE_TIMEOUT_S: Final = 60.0
SETTLE_S: Final = 2.0
AFTER: Final[Literal["move"]] = "move"

# The broker.
MQTT_PROTOCOL: Final[Literal["auto"]] = "auto"
KEEPALIVE_S: Final = 30
MAX_INFLIGHT: Final = 20
