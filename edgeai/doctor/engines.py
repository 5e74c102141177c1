"""Plugins and deployments: each opened as ``run`` opens it, in a process of its own, and blamed by name."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any

from edgeai.api.errors import EdgeaiError, PluginConflict
from edgeai.config import Deployment, DeviceConfig, allowing
from edgeai.doctor.apart import Apart
from edgeai.doctor.checks import Check, Verdict
from edgeai.plugins import conflicts, find
from edgeai.remedies import remedy_for
from edgeai.resolving import did_you_mean, near_word, words_for_backends

if TYPE_CHECKING:
    from edgeai.bundle.manifest import Manifest

_KEEP_OUT = "take it out of plugins.allow, or update or reinstall it; `edgeai plugins check {name}` says more"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugins:
    """What the allowed plugins answered.

    Attributes:
        answers: plugin -> what it provides, or its error.
        deaths: plugin -> how the process that loaded it ended.
        missing: allowed, and not installed.
    """

    answers: Mapping[str, Mapping[str, Any]]
    deaths: Mapping[str, str]
    missing: tuple[str, ...]

    @property
    def backends(self) -> dict[str, Mapping[str, Any]]:
        """Backend -> what it answered."""
        return {item["name"]: item for answer in self.answers.values() for item in answer.get("backends", ())}

    @property
    def twice(self) -> dict[str, PluginConflict]:
        """Backend -> which of the allowed plugins provide it, where these are several: none of them is used."""
        answers = [answer for answer in self.answers.values() if "info" in answer]
        return conflicts("backend", ((item["name"], one["info"]) for one in answers for item in one["backends"]))

    @property
    def sinks(self) -> dict[str, str]:
        """Kind of sink -> its plugin."""
        return {name: plugin for plugin, answer in self.answers.items() for name in answer.get("sinks", ())}


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleFound:
    """A deployment's bundle as far as reading it told."""

    deployment: Deployment
    check: Check
    manifest: Manifest | None = None


def ask_plugins(apart: Apart) -> Plugins:
    """Load and probe every allowed plugin; when one takes its process along, another goes on with the rest."""
    installed = {info.name for info in find()}
    names = tuple(dict.fromkeys(apart.config.plugins.allow))
    missing = tuple(name for name in names if name not in installed)
    rest = [name for name in names if name in installed]
    answers: dict[str, Mapping[str, Any]] = {}
    deaths: dict[str, str] = {}
    while rest:
        answer = apart.ask("plugins:" + ",".join(rest))
        answers |= {line["plugin"]: line for line in answer.lines}
        rest = [name for name in rest if name not in answers]
        if rest:
            culprit = answer.blamed if answer.blamed in rest else rest[0]
            deaths[culprit] = answer.death or "its process ended without an answer"
            rest.remove(culprit)
    return Plugins(answers=answers, deaths=deaths, missing=missing)


def plugin_checks(plugins: Plugins, config: DeviceConfig) -> Iterator[Check]:
    """What is wrong with a plugin, and every backend with its devices."""
    for name in plugins.missing:
        hint = did_you_mean(name, [info.name for info in find()])
        remedy = f"{_how_to_install(name)}, or take it out of plugins.allow;"
        remedy += " see `edgeai plugins list`"
        state = f"allowed by the profile, and not installed{hint}"
        yield Check(what=f"plugin {name}", verdict="fail", found=state, remedy=remedy)
    for name, death in plugins.deaths.items():
        state = f"loading it would take the service's processes along: {death}"
        yield Check(what=f"plugin {name}", verdict="fail", found=state, remedy=_KEEP_OUT.format(name=name))
    for name, answer in plugins.answers.items():
        if "error" in answer:
            remedy = answer["remedy"] or _KEEP_OUT.format(name=name)
            yield Check(what=f"plugin {name}", verdict="fail", found=answer["error"], remedy=remedy)
    wished = {name for deployment in config.deployments for name in deployment.backends}
    twice = plugins.twice
    for name, conflict in twice.items():
        yield Check(what=f"backend {name}", verdict="fail", found=str(conflict), remedy=conflict.remedy or "")
    for name, answer in plugins.backends.items():
        if name not in twice:
            yield _backend(name, answer, is_needed=name in wished)


def _how_to_install(plugin: str) -> str:
    """Edgeai's own plugins are extras of edgeai, called as they are."""
    extras = metadata.metadata("edgeai").get_all("Provides-Extra") or []
    return f"pip install 'edgeai[{plugin}]'" if plugin in extras else "install the distribution that provides it"


def _backend(name: str, answer: Mapping[str, Any], *, is_needed: bool) -> Check:
    what = f"backend {name}"
    if "error" in answer:
        remedy = answer["remedy"] or _KEEP_OUT.format(name=name)
        return Check(what=what, verdict="fail" if is_needed else "warn", found=answer["error"], remedy=remedy)
    engine = answer["engine"]
    state = f"{engine or 'engine not installed'}: {', '.join(answer['devices']) or 'no device'}"
    if answer["devices"]:
        return Check(what=what, verdict="ok", found=state)
    remedy = answer["install"] or "install its engine (the plugin's README says how)"
    if engine:
        remedy = "nothing, unless this machine should have such a device: then its driver is missing"
    return Check(what=what, verdict="fail" if is_needed else "warn", found=f"{state}. {answer['why']}", remedy=remedy)


# --- deployments ----------------------------------------------------------------------------------


def look_at_bundle(deployment: Deployment, config: DeviceConfig) -> BundleFound:
    """Signatures, manifest, release; read in this process, since nothing of it is run."""
    from edgeai.bundle.admission import read_admitted
    from edgeai.slots import standing

    what = f"bundle of {deployment.name}"
    try:
        deployment = standing(config, deployment)
    except EdgeaiError as error:
        check = Check(what=what, verdict="fail", found=f"{error} [{error.code}]", remedy=error.remedy or "")
        return BundleFound(deployment=deployment, check=check)
    if not deployment.bundle.exists():
        near = _near_file(deployment)
        state = f"{deployment.bundle} is missing{near}"
        remedy = "copy it there, readable by the service's user, or correct deployments.bundle"
        return BundleFound(deployment=deployment, check=Check(what=what, verdict="fail", found=state, remedy=remedy))
    try:
        manifest, digest = read_admitted(config, deployment)
        absent = _absent(deployment, manifest, digest)
    except EdgeaiError as error:
        state, remedy = f"{error} [{error.code}]", error.remedy or "copy the bundle again"
        return BundleFound(deployment=deployment, check=Check(what=what, verdict="fail", found=state, remedy=remedy))
    missing = [name for name in manifest.plugins if name not in config.plugins.allow]
    if missing:
        state = f"{manifest.name} {manifest.version} needs plugins that are not allowed: {', '.join(missing)}"
        check = Check(what=what, verdict="fail", found=state, remedy=allowing(config, missing))
        return BundleFound(deployment=deployment, check=check)
    release = f"release {manifest.release}" if manifest.release else "not numbered"
    state = f"{manifest.name} {manifest.version} ({release}, {digest[:19]}...){absent}{_in_slots(deployment, config)}"
    return BundleFound(deployment=deployment, check=Check(what=what, verdict="ok", found=state), manifest=manifest)


def _absent(deployment: Deployment, manifest: Manifest, digest: str) -> str:
    """Which artifacts of it are not here, where it is a folder that says so."""
    from edgeai.bundle.partial import read_held

    held = read_held(deployment.bundle, manifest, digest) if deployment.bundle.is_dir() else None
    ids = [item.id for item in manifest.artifacts if held is not None and item.id not in held.artifacts]
    return f"; not fetched: {', '.join(ids)}" if ids else ""


def _in_slots(deployment: Deployment, config: DeviceConfig) -> str:
    """How it stands with the slots of one that takes updates."""
    from edgeai.slots import SlotFolder, sentences, summary

    if not deployment.updates:
        return ""
    lines = sentences(summary(SlotFolder.of_device(config, deployment).read()))
    return "; " + "; ".join(lines or ["it is copied into a slot at the first start"])


def _near_file(deployment: Deployment) -> str:
    folder = deployment.bundle.parent
    try:
        near = difflib.get_close_matches(deployment.bundle.name, [item.name for item in folder.iterdir()], n=1)
    except OSError:
        return f", and so is the folder {folder}"
    return f'; did you mean "{near[0]}"?' if near else ""


def deployment_checks(bundle: BundleFound, plugins: Plugins, config: DeviceConfig, apart: Apart) -> Iterator[Check]:
    """Open it on its engine and let it answer its golden cases, where its bundle and its plugins are there."""
    deployment, what = bundle.deployment, f"deployment {bundle.deployment.name}"
    if bundle.manifest is None:
        return  # said already
    if plugins.deaths:
        names = ", ".join(plugins.deaths)
        state = f"not opened: its process loads every allowed plugin, and would end with {names}"
        yield Check(what=what, verdict="fail", found=state, remedy=f"first take {names} out of plugins.allow")
        return
    answer = apart.ask(f"deployment:{deployment.name}", max_memory_bytes=deployment.max_memory_bytes)
    last = answer.lines[-1] if answer.lines else {}
    unknown = _unknown_backends(deployment, plugins)
    if answer.death:
        blamed = f"{answer.blamed}: " if answer.blamed else ""
        remedy = "let another backend serve it, or update the plugin and its engine"
        if "not come to an end" in answer.death:
            remedy = f"raise open_deadline_s ({deployment.open_deadline_s:g}) if this is a slow start; {remedy}"
        yield Check(what=what, verdict="fail", found=f"{blamed}{answer.death}", remedy=remedy)
    elif "error" in last:
        remedy = last["remedy"] or remedy_for(last["code"])
        yield Check(what=what, verdict="fail", found=f"{last['error']} [{last['code']}]{unknown}", remedy=remedy)
    else:
        yield _opened(what, last, unknown)
        if caution := last["caution"]:
            state, remedy = f"{caution['error']} [{caution['code']}]", caution["remedy"]
            what = f"arithmetic of {deployment.name}"
            yield Check(what=what, verdict="warn" if remedy else "ok", found=state, remedy=remedy)


def _opened(what: str, opened: Mapping[str, Any], unknown: str) -> Check:
    cases = f"answered its {opened['cases']} golden cases" if opened["cases"] else "answered a blank plane"
    state, verdict, remedy = f"opened on {opened['on']}, {cases}", "ok", ""
    if opened["unmeasured"]:
        state = f"{state}; what is fastest here is measured at the first start"
    if opened["degraded"]:
        state, verdict = f"{state}, degraded: {'; '.join(opened['degraded'])}", "warn"
        remedy = "cure that, or wish for what is here: every result would say degraded"
    settled: Verdict = "warn" if verdict == "warn" or unknown else "ok"
    return Check(
        what=what, verdict=settled, found=f"{state}{unknown}", remedy=remedy or ("correct backends" * bool(unknown))
    )


def _unknown_backends(deployment: Deployment, plugins: Plugins) -> str:
    """Wishes that no allowed plugin provides, and what they are near to."""
    also = words_for_backends(find())[1]
    words = {word: name for word, name in also.items() if name in plugins.backends}
    words |= {name: name for name in plugins.backends}
    sentences = []
    for name in deployment.backends:
        if name in plugins.backends or name in ("auto", "fastest"):
            continue
        near = near_word(name, words)
        hint = f'; did you mean "{near}"?' if near else ""
        sentences.append(f'. No allowed plugin has a backend "{name}"{hint}')
    return "".join(sentences)
