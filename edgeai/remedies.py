"""What to do about a code where whoever raised it did not say: so that nothing is held without it.

Whoever raises an error knows best, and mostly says. This is for the rest, and for codes of plugins from elsewhere:
first by code, then by area, then by whose the code is. ``docs/reference/errors.md`` says more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from edgeai.owners import Owner, owner_of

_REPACK: Final = "correct it where the bundle is made, pack and sign it again, and put it here"
_REFETCH: Final = "fetch the bundle again; if that happens twice, do not use it and tell who packed it"
_REPLUG: Final = "tell the plugin's author, with the message; let the deployment use another backend meanwhile"

_CODES: Final[Mapping[str, str]] = {
    "bundle.not-a-bundle": "check the deployment's `bundle` in the profile, and fetch the file again",
    "bundle.missing": "copy the bundle to where the deployment's `bundle` in the profile says",
    "bundle.unsigned": "have it signed: `edgeai sign`",
    "bundle.untrusted": "have it signed by a trusted key, or put the signer's public key into the trust folder",
    "bundle.signer-expired": "have it signed by a key that is still trusted, or move the key's end in trust.toml",
    "bundle.signer-elsewhere": "let a key sign it that is trusted for this model, or name that model in trust.toml",
    "bundle.missing-file": _REFETCH,
    "bundle.wrong-size": _REFETCH,
    "bundle.wrong-hash": _REFETCH,
    "bundle.bad-signature": _REFETCH,
    "bundle.bad-signatures-file": _REFETCH,
    "bundle.unknown-schema": "update edgeai on this device, or pack the bundle again",
    "bundle.needs-newer-edgeai": "update edgeai on this device",
    "bundle.not-honoured": "update edgeai on this device, or deploy a bundle that does without",
    "bundle.rolled-back": "deploy the later release; to go back on purpose name this bundle: `allow_release`",
    "bundle.release-reused": "raise `release` in the card and pack again; or name this bundle: `allow_release`",
    "bundle.floors-unreadable": "put releases.json in data_dir back from a backup",
    "bundle.cache-unwritable": "free space on data_dir's volume, and let the service's user write there",
    "plugin.not-found": "install the distribution that provides it, and name its plugin in plugins.allow",
    "plugin.not-allowed": "add it to plugins.allow, once you trust it",
    "plugin.conflict": "uninstall all of the distributions that the message names but one",
    "plugin.incompatible": "install versions of edgeai and of the plugin that go together",
    "plugin.import-failed": "install what the plugin needs; the message says what is missing",
    "plugin.fault": _REPLUG,
    "plugin.contract": _REPLUG,
    "backend.model-rejected": "let the deployment use another backend, or convert the model again",
    "backend.artifact-missing": _REFETCH,
    "backend.artifact-damaged": _REFETCH,
    "backend.inference-failed": "read the engine's own words in the message; let the deployment use another backend",
    "transform.memory": "give the service more memory, or let the bundle shrink images before the costly step",
    "requires.not-met": "nothing is wrong: the profile's `requires` keeps such images from this deployment",
    "requires.no-statement": "read the other deployment's own result; the profile's `requires` asks for a statement",
    "requires.failed": "see why the other deployment failed; `edgeai rerun` does both again",
    "requires.no-answer": "`edgeai status PROFILE` says what the other deployment lacks; then `edgeai rerun`",
    "config.no-deployment": "put the deployment back into the profile",
    "config.hmac-key": "make the key that privacy.hmac_key_file names: `openssl rand -hex 32 > FILE`",
}

_AREAS: Final[Mapping[str, str]] = {
    "backend": "`edgeai doctor PROFILE` says what each engine lacks; let the deployment use another backend meanwhile",
    "bundle": _REFETCH,
    "plugin": "`edgeai plugins check PLUGIN` shows what is wrong with it; install another version of it",
    "slots": "look at data_dir/slots: room, owner, and what the message says of it",
    "keys": "put the trust folder right: public keys as `edgeai keys new` writes them, a trust.toml without mistakes",
    "spool": "look at the disk of data_dir: room, owner, and what dmesg says of it",
    "config": "correct the profile; `edgeai config check PROFILE` names the line",
    "transform": "correct the manifest's transforms, pack and sign the bundle again, and put it here",
    "task": "correct the manifest's task, pack and sign the bundle again, and put it here",
    "tensor": "hold the manifest's inputs and outputs against the artifact, and pack the bundle again",
    "mqtt": "check [mqtt] in the profile, and the broker; `edgeai doctor PROFILE` asks both",
    "sink": "look at what the sink says: `edgeai messages list PROFILE`",
}

_OWNERS: Final[Mapping[Owner, str]] = {
    "image": "look at the image and at what sent it",
    "device": "`edgeai doctor PROFILE` says what this device lacks; the service's log says more",
    "bundle": _REPACK,
    "plugin": "install another version of the plugin, or let the deployment use another backend",
}


def remedy_for(code: str) -> str:
    """One sentence, never empty, whatever the code is."""
    return _CODES.get(code) or _AREAS.get(code.partition(".")[0]) or _OWNERS[owner_of(code)]
