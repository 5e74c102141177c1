"""Would an image sent now give a result that leaves? One account for everybody who asks.

``/health``, ``/metrics``, the retained MQTT status, ``edgeai status`` and its exit status all read `read_health`, so
that they cannot contradict one another. It answers in two words: *serving* (an image sent now would be analysed) and
*delivering* (a result would leave), names each thing that is not so with a code, a sentence and a remedy, and holds
the ledger. Some of it must have been looked at beforehand: publish runs a `Watch`, and puts what that saw into its
heartbeat.

What is read from heartbeats:

=========== ========================= ===============================================================================
role        key
=========== ========================= ===============================================================================
publish     ``sinks``                 name -> ``{up, code, why, remedy, since, taken, unverified, refusing, tls}``
publish     ``watch``                 `Watch.detail`
publish     ``health_problem``        why ``/health`` is not served, or None
ingest      ``port``                  why the DICOM port is not open: ``{code, why, remedy}``, or None
ingest      ``tls``                   ``TlsFiles.detail``
ingest      ``connections``           how many are open
ingest      ``rejections``            reason -> how many did not come in
infer       ``model`` ... ``others``  as in `DeploymentHealth`
=========== ========================= ===============================================================================
"""

from __future__ import annotations

from edgeai.health.account import DeploymentHealth, Disk, Health, RoleHealth, SinkHealth, State
from edgeai.health.catalogue import KINDS, Problem
from edgeai.health.certificates import Certificate
from edgeai.health.facts import expected_roles, expected_sinks
from edgeai.health.reading import read_health
from edgeai.health.status import STATUS_SCHEMA, StatusNews, status_body
from edgeai.health.watch import Watch

__all__ = [
    "KINDS",
    "STATUS_SCHEMA",
    "Certificate",
    "DeploymentHealth",
    "Disk",
    "Health",
    "Problem",
    "RoleHealth",
    "SinkHealth",
    "State",
    "StatusNews",
    "Watch",
    "expected_roles",
    "expected_sinks",
    "read_health",
    "status_body",
]
