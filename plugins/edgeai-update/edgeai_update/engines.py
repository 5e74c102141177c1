"""Which artifacts of a bundle this device has to hold: asked of its engines, in a process of its own.

``python -m edgeai_update.engines`` reads a request from standard input, loads the plugins that the profile allows and
asks each backend what it finds here. Engines are large and may die; whoever updates is small and lives.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from edgeai.api.errors import EdgeaiError
from edgeai.bundle.partial import guard_artifacts
from edgeai.process import die_with_parent, for_a_child, take_stdout
from edgeai_update.errors import UpdateError

if TYPE_CHECKING:
    from edgeai.bundle.manifest import Manifest
    from edgeai.bundle.parts import ArtifactDecl
    from edgeai.config import Deployment, DeviceConfig
    from edgeai.selection import Offer

_TIMEOUT_S: Final = 600.0


def needed(config: DeviceConfig, deployment: Deployment, manifest: Manifest) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Ids of artifacts that the deployment needs here, and those of its guard's model (ADR 0052).

    Raises:
        EdgeaiError: no engine here opens any, or a plugin that the bundle needs is not here; or
            ``update.engines-unknown``.
    """
    request = {
        "allow": list(config.plugins.allow),
        "plugins": list(manifest.plugins),
        "backends": list(deployment.backends),
        "device": deployment.device,
        "artifacts": _facts(manifest.artifacts),
        "guard": _facts(guard_artifacts(manifest)),
    }
    try:
        done = subprocess.run(
            [sys.executable, "-m", "edgeai_update.engines"],
            input=json.dumps(request).encode(),
            capture_output=True,
            env=for_a_child(),
            timeout=_TIMEOUT_S,
            check=False,
        )
        answer: dict[str, Any] = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, ValueError) as error:
        raise UpdateError(
            "the engines of this device could not be asked what they open: the process that asked them died",
            code="update.engines-unknown",
            remedy="`edgeai plugins check` says which of them it is; update or remove it",
        ) from error
    if "refused" in answer:
        refused = answer["refused"]
        raise EdgeaiError(refused["message"], code=refused["code"], remedy=refused["remedy"])
    return tuple(answer["artifacts"]), tuple(answer["guard"])


def _facts(artifacts: Sequence[ArtifactDecl]) -> list[dict[str, str]]:
    return [{"id": item.id, "format": item.format, "precision": item.precision} for item in artifacts]


def answered(request: Mapping[str, Any]) -> dict[str, Any]:
    """What to hold, in the process that loads plugins.

    Raises:
        EdgeaiError: as ``needed``.
    """
    from edgeai.api.errors import PluginError
    from edgeai.plugins import Registry

    absent = [name for name in request["plugins"] if name not in request["allow"]]
    if absent:
        raise PluginError(
            f"the bundle needs plugins that are not allowed here: {', '.join(absent)}",
            code="plugin.not-allowed",
            remedy=f"add {', '.join(absent)} to plugins.allow, once you trust it",
        )
    registry = Registry.of(request["allow"])
    for name in request["plugins"]:
        if name in registry.faults:
            raise registry.faults[name]
    return {part: _to_hold(request, registry, request[part]) for part in ("artifacts", "guard")}


def _to_hold(request: Mapping[str, Any], registry: Any, facts: Sequence[Mapping[str, str]]) -> list[str]:
    from types import SimpleNamespace

    from edgeai.model.loading import wishes_of
    from edgeai.selection import FASTEST, choose, to_hold

    if not facts:
        return []
    artifacts = [SimpleNamespace(**fact) for fact in facts]
    every = FASTEST in request["backends"]
    wishes = wishes_of([] if every else request["backends"], request["device"])
    choice = choose(_offers(registry, wishes, facts), artifacts, wishes)
    return list(to_hold(choice, every=every))


def _offers(registry: Any, wishes: Any, facts: Sequence[Mapping[str, str]]) -> list[Offer]:
    from edgeai.model.loading import Offers
    from edgeai.model.steps import no_breadcrumb

    formats = tuple(fact["format"] for fact in facts)
    offers = Offers(wishes, registry=registry, loader=None, excluded={}, formats=formats, breadcrumb=no_breadcrumb)
    named = {wish.backend for wish in wishes}
    asked = (offers.offer(name, named=name in named) for name, _ in offers.turns())
    return [offer for offer in asked if offer is not None]


def main() -> int:
    """Read the request and answer it; 0."""
    die_with_parent()
    request = json.load(sys.stdin)
    answers = take_stdout()
    try:
        answer = answered(request)
    except EdgeaiError as error:
        answer = {"refused": {"code": error.code, "message": str(error), "remedy": error.remedy}}
    answers.write(json.dumps(answer))
    answers.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
