"""MQTT: connect (TLS, last will, MQTT 5 and 3.1.1), publish until every PUBACK is in, subscribe.

A ``Connection`` never reconnects by itself. When it breaks, the caller opens a new one and offers again what was not
acknowledged: at least once. MQTT 5.0 is the OASIS standard of that name; section numbers refer to it.
"""

from edgeai.mqtt.broker import Broker, Limits, Loss, Outgoing, tls_context
from edgeai.mqtt.connection import ACK_TIMEOUT_S, Connection, Listener, connect

__all__ = [
    "ACK_TIMEOUT_S",
    "Broker",
    "Connection",
    "Limits",
    "Listener",
    "Loss",
    "Outgoing",
    "connect",
    "tls_context",
]
