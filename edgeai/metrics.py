"""Prometheus metrics of a device, computed from the spool at each scrape, so that no restart loses a count."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from edgeai import __version__
from edgeai.config import DeviceConfig
from edgeai.health import Health, read_health
from edgeai.spool import BUCKETS_MS, Counter, Histogram, Spool

_COUNTERS = {
    "results": ("edgeai_results", "Results by deployment, outcome, code and backend"),
    "selftests": ("edgeai_selftest_results", "Ends of self-tests' phantoms, which are no results"),
    "faults": ("edgeai_faults", "Faults by plugin, step and cause"),
    "restarts": ("edgeai_restarts", "Restarts by role"),
    "instances": ("edgeai_instances", "Arrivals by what became of them, refusals by their code"),
}


class SpoolCollector(Collector):
    """Histograms per stage, counters, and gauges of this moment. ``docs/reference/metrics.md`` lists them."""

    def __init__(self, spool: Spool, config: DeviceConfig) -> None:
        self._spool = spool
        self._config = config

    def describe(self) -> Iterable[Metric]:
        """Nothing beforehand: collecting needs the spool, and registering must not."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Every metric.

        Raises:
            SpoolError: the spool cannot be read; the scrape fails, which is the truth.
        """
        device = self._config.device
        what = {"version": __version__, "python": platform.python_version(), "site": device.site, "device": device.id}
        yield _gauge("edgeai_build_info", "1; its labels say what runs", tuple(what), [(tuple(what.values()), 1)])
        yield stage_histograms(self._spool.histograms())
        yield from counter_families(self._spool.counters())
        health = read_health(self._spool, self._config)
        for part in (_words, _processes, _deployments, _ledger_jobs, _ledger_messages, _sinks, _device, _selftest):
            yield from part(health)


def metrics_text(spool: Spool, config: DeviceConfig) -> str:
    """What a scrape of this moment would give.

    Raises:
        SpoolError: the spool cannot be read.
    """
    registry = CollectorRegistry()
    registry.register(SpoolCollector(spool, config))
    return generate_latest(registry).decode()


def counter_families(counters: Iterable[Counter]) -> Iterator[Metric]:
    """The spool's counters; a label that an older row lacks is empty."""
    rows: dict[str, list[Counter]] = {}
    for counter in counters:
        if counter.name in _COUNTERS:
            rows.setdefault(counter.name, []).append(counter)
    for name, group in rows.items():
        keys = sorted({key for counter in group for key in counter.labels})
        family = CounterMetricFamily(*_COUNTERS[name], labels=keys)
        for counter in group:
            family.add_metric([str(counter.labels.get(key, "")) for key in keys], counter.value)
        yield family


def stage_histograms(histograms: Iterable[Histogram]) -> HistogramMetricFamily:
    """``edgeai_stage_seconds`` with cumulative buckets, in seconds as Prometheus wants them."""
    family = HistogramMetricFamily(
        "edgeai_stage_seconds", "Wall-clock duration of each stage", labels=["deployment", "stage"]
    )
    for item in histograms:
        total, buckets = 0, []
        for bound, count in zip((*BUCKETS_MS, None), item.counts, strict=True):
            total += count
            buckets.append(("+Inf" if bound is None else str(bound / 1000.0), total))
        family.add_metric([item.deployment, item.stage], buckets, item.sum_ms / 1000.0)
    return family


def _gauge(
    name: str, text: str, labels: Sequence[str], rows: Iterable[tuple[Sequence[str], float]]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=labels)
    for values, number in rows:
        family.add_metric(values, number)
    return family


def _single(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)


def _words(health: Health) -> Iterator[Metric]:
    yield _single("edgeai_serving", "1 while an image sent now would be analysed", health.is_serving)
    yield _single("edgeai_delivering", "1 while a result would leave", health.is_delivering)
    items = (*health.problems, *health.warnings)
    present = dict.fromkeys((item.code, item.about, item.cause, item.level) for item in items)
    labels = ("code", "about", "cause", "level")
    yield _gauge("edgeai_problem", "1 for each problem and warning there is", labels, [(key, 1) for key in present])


def _processes(health: Health) -> Iterator[Metric]:
    rows = [((role.role,), float(role.alive)) for role in health.roles]
    yield _gauge("edgeai_role_up", "1 while the process lives", ("role",), rows)


def _deployments(health: Health) -> Iterator[Metric]:
    ready = [((item.name, item.backend or ""), float(item.state == "ready")) for item in health.deployments]
    degraded = [((item.name,), float(item.degraded)) for item in health.deployments]
    yield _gauge("edgeai_deployment_ready", "1 while it can run", ("deployment", "backend"), ready)
    yield _gauge("edgeai_deployment_degraded", "1 on its second choice", ("deployment",), degraded)
    lately = [((item.name,), item.lately.withheld / item.lately.of) for item in health.deployments if item.lately.of]
    text = "Part of the last 50 results without a statement: withheld before the model, or ended by its task"
    yield _gauge("edgeai_withheld_ratio", text, ("deployment",), lately)
    unasked = [
        ((item.name,), item.lately.unasked / (item.lately.ended or 1)) for item in health.deployments if item.requires
    ]
    text = "Part of the last 50 images of which another deployment did not say what this one requires"
    yield _gauge("edgeai_unasked_ratio", text, ("deployment",), unasked)
    in_slots = [(item.name, item.slots) for item in health.deployments if item.slots]
    there = [
        ((name, slot, told[slot]["stage"], told[slot]["digest"]), float(told["active"] == slot))
        for name, told in in_slots
        for slot in ("a", "b")
        if told[slot]
    ]
    labels = ("deployment", "slot", "stage", "digest")
    yield _gauge("edgeai_slot", "What a slot holds; 1 for the one that runs", labels, there)
    kinds = ("needed", "completed", "failed", "withheld")
    counted = [
        ((name, kind), float(told["probation"][kind])) for name, told in in_slots if told["probation"] for kind in kinds
    ]
    what = "Results of a bundle on probation, and how many are needed"
    yield _gauge("edgeai_probation_results", what, ("deployment", "kind"), counted)


def _ledger_jobs(health: Health) -> Iterator[Metric]:
    jobs, now = health.ledger.jobs, health.read_at
    yield _single("edgeai_jobs_waiting", "Unfinished jobs that are not held", health.ledger.jobs_waiting)
    held = [((entry.deployment,), float(entry.held)) for entry in jobs]
    yield _gauge("edgeai_jobs_held", "Jobs that wait for a deployment that cannot run", ("deployment",), held)
    awaiting = [((entry.deployment,), float(entry.awaiting)) for entry in jobs]
    what = "Jobs that wait for another deployment to end for the same image"
    yield _gauge("edgeai_jobs_awaiting", what, ("deployment",), awaiting)
    oldest = [
        ((entry.deployment, state), max(0.0, now - at))
        for entry in jobs
        for state, at in (("waiting", entry.oldest_waiting_at), ("held", entry.oldest_held_at))
        if at is not None
    ]
    yield _gauge("edgeai_job_oldest_seconds", "Age of the oldest unfinished job", ("deployment", "state"), oldest)
    places = [
        ((entry.deployment, place), float(getattr(entry, place)))
        for entry in jobs
        for place in ("acknowledged", "waiting", "held", "finished")
    ]
    yield _gauge("edgeai_ledger_jobs", "The ledger of jobs, term by term", ("deployment", "place"), places)
    missing = [((entry.deployment,), float(entry.missing)) for entry in jobs]
    yield _gauge("edgeai_ledger_jobs_missing", "0 while its sum adds up", ("deployment",), missing)


def _ledger_messages(health: Health) -> Iterator[Metric]:
    messages = health.ledger.messages
    yield _single("edgeai_messages_waiting", "Messages some sink lacks", health.ledger.messages_waiting)
    aside = [((entry.sink, entry.lane), float(entry.aside)) for entry in messages]
    yield _gauge("edgeai_messages_set_aside", "Messages refused for good and kept", ("sink", "lane"), aside)
    places = [
        ((entry.sink, entry.lane, place), float(getattr(entry, place)))
        for entry in messages
        for place in ("queued", "waiting", "aside", "delivered", "dropped")
    ]
    yield _gauge("edgeai_ledger_messages", "The ledger of messages, term by term", ("sink", "lane", "place"), places)
    missing = [((entry.sink, entry.lane), float(entry.missing)) for entry in messages]
    yield _gauge("edgeai_ledger_messages_missing", "0 while its sum adds up", ("sink", "lane"), missing)


def _sinks(health: Health) -> Iterator[Metric]:
    up = [((sink.name,), float(sink.up)) for sink in health.sinks if sink.up is not None]
    yield _gauge("edgeai_sink_up", "1 while it takes messages", ("sink",), up)
    oldest = [
        ((entry.sink, entry.lane), 0.0 if at is None else max(0.0, health.read_at - at))
        for entry in health.ledger.messages
        for at in (entry.oldest_waiting_at,)
    ]
    yield _gauge("edgeai_sink_oldest_seconds", "Age of the oldest message it lacks", ("sink", "lane"), oldest)


def _device(health: Health) -> Iterator[Metric]:
    yield _single("edgeai_disk_free_bytes", "Free disk at data_dir", health.disk.free_bytes)
    if health.disk.free_inodes is not None:
        yield _single("edgeai_disk_free_inodes", "Free inodes at data_dir", health.disk.free_inodes)
    yield _single("edgeai_kept_files", "Files of failed jobs, kept to be done again", health.ledger.kept_files)
    yield _single("edgeai_kept_bytes", "What those files take", health.ledger.kept_bytes)
    yield _single("edgeai_connections", "Open connections at the DICOM port", health.connections)
    rejected = CounterMetricFamily("edgeai_associations_rejected", "Associations refused", labels=["reason"])
    for reason, count in health.rejections.items():
        rejected.add_metric([reason], count)
    yield rejected
    ends = [((item.name,), item.ends_at - health.read_at) for item in health.certificates if not item.why]
    yield _gauge("edgeai_certificate_expiry_seconds", "Until it ends; below 0 it has", ("certificate",), ends)
    if health.clock_synchronised is not None:
        yield _single("edgeai_clock_synchronised", "1 while somebody keeps the clock", health.clock_synchronised)


def _selftest(health: Health) -> Iterator[Metric]:
    if not health.selftest:
        return
    age_s = max(0.0, health.read_at - float(health.selftest.get("ended_at") or 0.0))
    yield _single("edgeai_selftest_passed", "1 when the last self-test passed", bool(health.selftest.get("passed")))
    yield _single("edgeai_selftest_age_seconds", "Since the last self-test ended", age_s)
