"""What came of a look, for people and for programs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from edgeai.counted import counted

if TYPE_CHECKING:
    from edgeai.api.errors import EdgeaiError
    from edgeai.bundle.releases import Numbered
    from edgeai.rollouts import Turn
    from edgeai_update.blobs import Blobs
    from edgeai_update.members import Wanted
    from edgeai_update.repository import Listed

Tell: TypeAlias = Callable[[str], None]
Kind = Literal["none", "current", "waiting", "offered", "ready", "installed", "ordered-back", "refused"]
"""``none``: the repository offers nothing of this model. ``waiting``: its turn has not come, and ``code`` says why.
``offered``: it would be fetched. ``ready``: it was installed before, and waits to be rehearsed or switched to.
``ordered-back``: it runs from now on, by an order."""


@dataclass(slots=True, kw_only=True)
class Outcome:
    """Of one deployment.

    Attributes:
        model: that the deployment is bound to.
        release: of what is offered.
        version: the same.
        digest: the same.
        fetched_bytes: that came over the link now.
        to_fetch_bytes: that were lacking before, the offer aside.
        share_bytes: what this device takes of the bundle, packed, with the offer, had it nothing yet.
        whole_bytes: what all of the bundle is, packed, with the offer.
        kept_files: how many files lay in a slot already.
        rollout: by which it comes or waits; empty for none.
        soon: something waits for the next look, which should not be long.
        code, message, remedy: of a refusal; the first two of what is waited for.
    """

    deployment: str
    outcome: Kind
    model: str = ""
    release: int = 0
    version: str = ""
    digest: str = ""
    fetched_bytes: int = 0
    to_fetch_bytes: int = 0
    share_bytes: int = 0
    whole_bytes: int = 0
    kept_files: int = 0
    rollout: str = ""
    soon: bool = False
    code: str = ""
    message: str = ""
    remedy: str = ""

    def ends(self, kind: Kind) -> Outcome:
        """The same, with its end."""
        self.outcome = kind
        return self

    def of(self, listed: Listed, rollout: str) -> None:
        """What it is about."""
        self.release, self.version, self.digest, self.rollout = listed.release, listed.version, listed.digest, rollout

    def goes_to(self, bundle: Numbered) -> None:
        """What stood before runs; its version is nowhere but in its manifest."""
        self.release, self.version, self.digest = bundle.release, "", bundle.digest

    def waits(self, turn: Turn) -> Outcome:
        """Its turn has not come."""
        self.code, self.message = turn.code, turn.why
        return self.ends("waiting")

    def refuse(self, error: EdgeaiError) -> None:
        """It is not taken."""
        self.outcome, self.code, self.message, self.remedy = "refused", error.code, str(error), error.remedy or ""

    def takes(self, wanted: Wanted, blobs: Blobs, offer_bytes: int) -> None:
        """What it takes, and what of that is not here."""
        files = wanted.offer.manifest.files
        self.digest, self.version = wanted.offer.digest, wanted.offer.manifest.version
        self.to_fetch_bytes = sum(blobs.lacking(packed) for packed in wanted.to_fetch.values())
        self.share_bytes = offer_bytes + wanted.packed_bytes(wanted.names)
        self.whole_bytes = offer_bytes + wanted.packed_bytes(files)
        self.kept_files = sum(files[name].sha256 in wanted.here for name in wanted.names)

    def __str__(self) -> str:
        """One sentence."""
        what = f"{self.model} {self.version}, release {self.release}".replace(" ,", ",")
        if self.outcome == "none":
            return f"{self.deployment}: the repository offers nothing of {self.model}"
        if self.outcome == "current":
            return f"{self.deployment}: {what} runs, and nothing newer is offered"
        if self.outcome == "ready":
            return f"{self.deployment}: {what} is installed already, and waits for its turn"
        by = f" (rollout {self.rollout})" if self.rollout and not self.rollout.startswith("order") else ""
        if self.outcome == "waiting":
            return f"{self.deployment}: {what} is not taken{by}: {self.message} [{self.code}]"
        if self.outcome == "ordered-back":
            return f"{self.deployment}: {what} runs again, by {self.rollout}"
        if self.outcome == "refused":
            return f"{self.deployment}: refused {what if self.release else 'any update'}: {self.message}"
        share = f"{self.share_bytes:,} of {self.whole_bytes:,} bytes of it are for this device"
        kept = f", {counted(self.kept_files, 'file')} already here" if self.kept_files else ""
        if self.outcome == "offered":
            return f"{self.deployment}: {what} is offered: {self.to_fetch_bytes:,} bytes to fetch; {share}{kept}"
        return f"{self.deployment}: installed {what}: {self.fetched_bytes:,} bytes fetched; {share}{kept}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Of all deployments; or why nothing is known of what is offered."""

    outcomes: tuple[Outcome, ...] = ()
    refused: EdgeaiError | None = None

    @property
    def is_well(self) -> bool:
        """Whether nothing was refused."""
        return self.refused is None and all(each.outcome != "refused" for each in self.outcomes)

    def told(self) -> dict[str, Any]:
        """For programs."""
        error = self.refused
        refused = {"code": error.code, "message": str(error), "remedy": error.remedy or ""} if error else None
        return {"schema": 1, "refused": refused, "deployments": [asdict(each) for each in self.outcomes]}
