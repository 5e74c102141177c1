"""The metrics: parsed as Prometheus parses them, with the labels that the reference lists, and cheap with many rows."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

import edgeai
from edgeai.api import BundleRejected
from edgeai.config import DeviceConfig, load_config
from edgeai.metrics import SpoolCollector
from edgeai.spool import Spool
from edgeai.testing.certificates import Authority
from edgeai.testing.examples import instance_ref


@pytest.fixture
def config(tmp_path: Path) -> DeviceConfig:
    (tmp_path / "ca").mkdir()
    (tmp_path / "profile.toml").write_text(
        '[device]\nid = "cart"\nsite = "lab"\ndata_dir = "data"\n[spool]\nreserve_bytes = 1000\n'
        '[[deployments]]\nname = "guard"\nbundle = "guard.edgeai"\n'
        f'[mqtt.tls]\nca = "{Authority(tmp_path / "ca").ca}"\n'
    )
    return load_config(tmp_path / "profile.toml")


@pytest.fixture
def spool(config: DeviceConfig) -> Iterator[Spool]:
    opened = Spool.of(config)
    opened.enable_sinks(["mqtt"])
    yield opened
    opened.close()


def scrape(spool: Spool, config: DeviceConfig) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Sample name -> labels -> value."""
    registry = CollectorRegistry()
    registry.register(SpoolCollector(spool, config))
    samples: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            labels = tuple(sorted(sample.labels.items()))
            values = samples.setdefault(sample.name, {})
            assert labels not in values, f"{sample.name}{labels} twice"
            values[labels] = sample.value
    return samples


def one(samples: dict[str, dict[tuple[tuple[str, str], ...], float]], name: str, **labels: str) -> float:
    return samples[name][tuple(sorted(labels.items()))]


def fill(spool: Spool) -> None:
    for number, deployment in enumerate(("guard", "guard", "gone")):
        received = spool.tmp / f"{number}-{threading.get_ident()}"
        received.write_bytes(b"DICOM" * 100)
        instance = instance_ref(sop_instance_uid=f"2.25.{number}")
        spool.admit(instance, received, content=lambda n=number: str(n), deployments=[deployment], source="test")
    spool.count("instances", outcome="refused", code="spool.backlog")
    spool.event("test.said", "one")
    spool.hold("guard", BundleRejected("no", code="bundle.untrusted"))
    spool.beat("publish", "ready", sinks={"mqtt": {"up": False, "why": "away"}}, watch={"selftest": {"passed": True}})
    spool.beat("ingest", "ready", connections=3, rejections={"too-many": 2, "tls": 0})


def test_everything_that_the_account_knows_is_a_metric(spool: Spool, config: DeviceConfig) -> None:
    fill(spool)
    samples = scrape(spool, config)
    [labels] = samples["edgeai_build_info"]
    assert dict(labels)["version"] == edgeai.__version__
    assert (dict(labels)["site"], dict(labels)["device"]) == ("lab", "cart")
    assert one(samples, "edgeai_serving") == one(samples, "edgeai_delivering") == 0
    assert one(samples, "edgeai_sink_up", sink="mqtt") == 0
    assert one(samples, "edgeai_sink_oldest_seconds", sink="mqtt", lane="event") >= 0
    assert one(samples, "edgeai_instances_total", outcome="received", code="") == 3
    assert one(samples, "edgeai_instances_total", outcome="refused", code="spool.backlog") == 1
    assert one(samples, "edgeai_associations_rejected_total", reason="too-many") == 2
    assert one(samples, "edgeai_jobs_held", deployment="guard") == 2
    assert one(samples, "edgeai_jobs_waiting") == 1
    assert one(samples, "edgeai_ledger_jobs", deployment="guard", place="acknowledged") == 2
    assert one(samples, "edgeai_ledger_jobs_missing", deployment="guard") == 0
    assert one(samples, "edgeai_ledger_messages", sink="mqtt", lane="event", place="waiting") >= 1
    assert one(samples, "edgeai_certificate_expiry_seconds", certificate="mqtt.tls.ca") > 0
    assert one(samples, "edgeai_connections") == 3
    assert one(samples, "edgeai_selftest_passed") == 1
    codes = {dict(labels)["code"] for labels in samples["edgeai_problem"]}
    assert {"sink.down", "jobs.orphaned", "role.not-running"} <= codes


def test_a_counter_of_an_older_version_with_fewer_labels_does_no_harm(spool: Spool, config: DeviceConfig) -> None:
    spool.count("restarts", role="ingest")
    spool.count("restarts", role="ingest", cause="crashed")
    spool.count("something.else", x="y")
    samples = scrape(spool, config)
    assert one(samples, "edgeai_restarts_total", role="ingest", cause="") == 1
    assert one(samples, "edgeai_restarts_total", role="ingest", cause="crashed") == 1


def test_every_metric_has_the_labels_that_the_reference_lists(
    spool: Spool, config: DeviceConfig, repo_root: Path
) -> None:
    fill(spool)
    spool.count("results", backend="b", code="", deployment="guard", outcome="completed")
    spool.count("selftests", backend="b", code="", deployment="guard", outcome="completed")
    spool.count("faults", cause="c", deployment="guard", plugin="p", step="run")
    spool.count("restarts", cause="crashed", role="ingest")
    page = (repo_root / "docs/reference/metrics.md").read_text()
    rows = re.findall(r"^\| `(edgeai_\w+)`[^|]*\| (\w+) \|([^|]*)\|", page, re.MULTILINE)
    listed = {name: set(re.findall(r"`(\w+)`", labels)) for name, kind, labels in rows if kind != "histogram"}
    scraped = scrape(spool, config)
    samples = {name: {key for labels in values for key, _ in labels} for name, values in scraped.items()}
    seen = {name: labels for name, labels in samples.items() if not name.startswith("edgeai_stage")}
    assert {name: listed.get(name) for name in seen} == seen
