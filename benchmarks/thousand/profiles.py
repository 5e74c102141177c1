"""What the carts of a run have in common, and the profile of each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """What all carts of a run have in common.

    Attributes:
        at: a folder for theirs.
        trust: the folder of keys and root.
        bundle: what they run first.
        url: of the repository.
        port: of the broker.
        looks_every_s: as in a profile.
        images_every_s: so often an image comes to a cart, by the mean.
        needed: completed results that end a probation.
        share, silent: of carts of each failing kind, and of silent ones.
        seed: of every lot.
    """

    at: Path
    trust: Path
    bundle: Path
    url: str
    port: int
    looks_every_s: float = 6 * 3600.0
    images_every_s: float = 1800.0
    needed: int = 10
    share: float = 0.02
    silent: float = 0.01
    seed: str = "1"


def profile(fleet: Fleet, site: str, device: str) -> Path:
    """Its file, in a folder of its own."""
    at = fleet.at / site / device
    at.mkdir(parents=True)
    path = at / "cart.toml"
    path.write_text(
        f'schema = 1\n[device]\nid = "{device}"\nsite = "{site}"\ndata_dir = "var"\n'
        f'[plugins]\nallow = ["fakes"]\n[trust]\nkeys = "{fleet.trust}"\n'
        f"[spool]\nreserve_bytes = 1000\n[updates]\nprobation_results = {fleet.needed}\n"
        f'[repository]\nurl = "{fleet.url}"\nroot = "{fleet.trust}/root.json"\nevery_s = {fleet.looks_every_s}\n'
        f'[[deployments]]\nname = "guard"\nbundle = "{fleet.bundle}"\nbackends = ["fake-works"]\nupdates = true\n'
    )
    return path
