"""Prometheus metrics of a device, computed from the spool at each scrape, so that no restart loses a count."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from edgeai.config import DeviceConfig
from edgeai.health import Health, read_health
from edgeai.spool import BUCKETS_MS, Histogram, Spool

_COUNTERS = {
    "results": ("edgeai_results", "Results by deployment, outcome, code and backend"),
    "faults": ("edgeai_faults", "Faults by plugin, step and cause"),
    "restarts": ("edgeai_restarts", "Restarts by role"),
}


class SpoolCollector(Collector):
    """Histograms per stage, counters, and gauges of this moment. ``docs/reference/metrics.md`` lists them."""

    def __init__(self, spool: Spool, config: DeviceConfig) -> None:
        self._spool = spool
        self._config = config

    def describe(self) -> Iterable[Metric]:
        """Nothing beforehand: collecting needs the spool, and registering must not."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Every metric.

        Raises:
            SpoolError: the spool cannot be read; the scrape fails, which is the truth.
        """
        yield stage_histograms(self._spool.histograms())
        yield from self._counters()
        yield from _gauges(read_health(self._spool, self._config))

    def _counters(self) -> Iterable[Metric]:
        families: dict[str, CounterMetricFamily] = {}
        for counter in self._spool.counters():
            if counter.name not in _COUNTERS:
                continue
            if counter.name not in families:
                name, text = _COUNTERS[counter.name]
                families[counter.name] = CounterMetricFamily(name, text, labels=sorted(counter.labels))
            labels = [counter.labels[key] for key in sorted(counter.labels)]
            families[counter.name].add_metric(labels, counter.value)
        return families.values()


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


def _gauges(health: Health) -> Iterable[Metric]:
    yield GaugeMetricFamily("edgeai_serving", "1 while every role and deployment works", value=health.is_serving)
    yield GaugeMetricFamily("edgeai_jobs_waiting", "Unfinished jobs", value=health.jobs_waiting)
    yield GaugeMetricFamily("edgeai_messages_waiting", "Messages some sink lacks", value=health.messages_waiting)
    yield GaugeMetricFamily("edgeai_disk_free_bytes", "Free disk at data_dir", value=health.free_bytes)
    roles = GaugeMetricFamily("edgeai_role_up", "1 while the process lives", labels=["role"])
    for role in health.roles:
        roles.add_metric([role.role], role.alive)
    yield roles
    ready = GaugeMetricFamily("edgeai_deployment_ready", "1 while it can run", labels=["deployment", "backend"])
    degraded = GaugeMetricFamily("edgeai_deployment_degraded", "1 on its second choice", labels=["deployment"])
    for deployment in health.deployments:
        ready.add_metric([deployment.name, deployment.backend or ""], deployment.state == "ready")
        degraded.add_metric([deployment.name], deployment.degraded)
    yield ready
    yield degraded
