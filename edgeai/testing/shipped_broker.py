"""Mosquitto with the configuration that ships, of a site or a fleet; its paths and ports changed and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

from edgeai.testing.broker import Mosquitto
from edgeai.testing.certificates import Authority, Identity

CERTIFICATES = "/etc/mosquitto/certs"


class ShippedMosquitto(Mosquitto):
    """With TLS, client certificates and an access list.

    The files are included by what a distribution has as ``mosquitto.conf``: of some keys Mosquitto takes no second one.

    Args:
        folder: its own; made.
        configs: ``firmware-configs/brokers``.
        authority: whose certificates it shows and takes.
        acl: which access list.
    """

    def __init__(self, folder: Path, configs: Path, authority: Authority, *, acl: str = "edgeai.acl") -> None:
        (folder / "conf.d").mkdir(parents=True)
        super().__init__(folder)
        self._configs, self._included = configs, folder / "conf.d"
        identity = authority.issue("localhost")
        self._include(
            "mosquitto.conf",
            {
                "listener 8883": f"listener {self.port} 127.0.0.1",
                f"{CERTIFICATES}/ca.pem": str(authority.ca),
                f"{CERTIFICATES}/broker.pem": str(identity.certificate),
                f"{CERTIFICATES}/broker.key": str(identity.key),
                "/etc/mosquitto/conf.d/edgeai.acl": str(shutil.copy(configs / acl, folder)),
            },
        )
        self._conf.write_text(
            f"user root\npid_file {folder}/pid\npersistence true\npersistence_location {folder}/\n"
            f"log_dest stderr\ninclude_dir {self._included}\n",
            encoding="utf-8",
        )

    def bridge(self, site: str, port: int, authority: Authority, identity: Identity) -> None:
        """Hand on to the broker at this port what ``bridge.conf`` says, before the start."""
        self._include(
            "bridge.conf",
            {
                "centre.example:8883": f"localhost:{port}",
                f"{CERTIFICATES}/centre-ca.pem": str(authority.ca),
                f"{CERTIFICATES}/bridge.pem": str(identity.certificate),
                f"{CERTIFICATES}/bridge.key": str(identity.key),
                "/SITE/": f"/{site}/",
                "bridge-SITE": f"bridge-{site}",
                "restart_timeout 5 60": "restart_timeout 1",
            },
        )

    def _include(self, name: str, changes: dict[str, str]) -> None:
        text = (self._configs / name).read_text(encoding="utf-8")
        for old, new in changes.items():
            if old not in text:
                raise ValueError(f"{name} no longer has {old!r}")
            text = text.replace(old, new)
        (self._included / f"edgeai-{name}").write_text(text, encoding="utf-8")
