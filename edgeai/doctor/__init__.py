"""``edgeai doctor``: look at everything that a device needs, and say what to do about what is missing.

It opens what ``edgeai run`` opens, in the order in which a person would look: the bundles, the plugins, each
deployment, the store, the ports and folders, the sinks, the broker, certificates and keys. What may die or hang (a
plugin) is opened in a process of its own, which the supervisor's own means watch (``edgeai.roles.child``): that it dies
is a finding like any other.

============== =================================================================================
``checks``     what a finding is
``apart``      runs a part in a process of its own, and says how that ended
``examine``    that process: plugins, one deployment, one sink
``engines``    plugins and deployments
``sinks``      every sink with its settings, and the broker with a real publish
``certificates`` files of TLS: ends, key and certificate, what Python 3.13 asks of an authority
``store``      data_dir, disk, and the spool, which looking does not change
``profile``    sinks' settings, for `edgeai config check`
``device``     the trust folder, ports, watched folders, the clock
============== =================================================================================
"""

from __future__ import annotations

from edgeai.doctor.checks import Check
from edgeai.doctor.checkup import checkup

__all__ = ["Check", "checkup"]
