"""Metrics: control's numbers in the words of Prometheus.

Source: the Prometheus text format, and its advice on names and labels.  Pure: ``collect`` makes them from
one answer to "status".  Labels are workers and kinds of complaint, both few: a stranger cannot make more."""

from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from scsipub.web.models import Status

CONTENT_TYPE = "text/plain; version=0.0.4"  # Litestar adds the charset
MOST_KINDS = 64
MOST_TENANTS = 1000
TOTALS = {
    "connections": "Connections accepted",
    "refused": "Connections closed at once, because of a limit or a penalty",
    "logins": "Logins that succeeded",
    "login_failures": "Logins refused",
    "crashes": "Sessions that ended because of a bug",
    "bytes_read": "Bytes read by initiators",
    "bytes_written": "Bytes written by initiators",
    "operations": "SCSI commands done",
}


def collect(status: Status) -> Iterator[Metric]:
    """Every metric family, in a fixed order."""
    info = GaugeMetricFamily("scsipub_build_info", "Always 1; the label says what runs", labels=["version"])
    info.add_metric([status.version], 1)
    yield info
    for name, about, value in (
        ("uptime_seconds", "Since the daemon started", status.uptime_seconds),
        ("sessions", "Sessions now", status.sessions),
        ("parked_disks", "Disposable disks that wait for their initiator", status.parked),
        ("images", "Images", status.images),
    ):
        yield GaugeMetricFamily(f"scsipub_{name}", about, value=value)
    for name, about in TOTALS.items():
        yield CounterMetricFamily(f"scsipub_{name}", about, value=getattr(status.counters, name))
    malformed = CounterMetricFamily(
        "scsipub_malformed", "What initiators did wrong, by kind", labels=["kind"]
    )
    for kind, count in bounded(status.counters.malformed).items():
        malformed.add_metric([kind], count)
    yield malformed
    up = GaugeMetricFamily("scsipub_worker_up", "1 when the worker takes connections", labels=["worker"])
    held = GaugeMetricFamily("scsipub_worker_sessions", "Sessions in the worker", labels=["worker"])
    restarts = CounterMetricFamily("scsipub_worker_restarts", "Times it was replaced", labels=["worker"])
    moved = {
        key: CounterMetricFamily(
            f"scsipub_worker_{key}", f"{TOTALS[key]}, since it started", labels=["worker"]
        )
        for key in ("bytes_read", "bytes_written", "operations")
    }
    took = HistogramMetricFamily(
        "scsipub_command_seconds", "How long the worker had commands", labels=["worker"]
    )
    for worker in status.workers:
        label = [str(worker.index)]
        up.add_metric(label, worker.state == "ready")
        held.add_metric(label, worker.sessions)
        restarts.add_metric(label, worker.restarts)
        for key, family in moved.items():
            family.add_metric(label, getattr(worker, key))
        took.add_metric(label, buckets=buckets(worker.times), sum_value=None)
    yield from (up, held, restarts, *moved.values(), took)


MOVED = ("bytes_read", "bytes_written", "operations")


def collect_private(told: dict[str, Any]) -> Iterator[Metric]:
    """By tenant, and of the busiest sessions: for who shows the admin token."""
    held = GaugeMetricFamily("scsipub_tenant_sessions", "Sessions of the tenant", labels=["tenant"])
    rented = GaugeMetricFamily("scsipub_tenant_targets", "Targets of the tenant", labels=["tenant"])
    by_tenant = {
        key: CounterMetricFamily(f"scsipub_tenant_{key}", f"{TOTALS[key]}, by tenant", labels=["tenant"])
        for key in MOVED
    }
    for row in told["tenants"][:MOST_TENANTS]:
        held.add_metric([row["tenant"]], row["sessions"])
        rented.add_metric([row["tenant"]], row["targets"])
        for key, family in by_tenant.items():
            family.add_metric([row["tenant"]], row[key])
    labels = ["session", "target"]
    by_session = {
        key: CounterMetricFamily(
            f"scsipub_session_{key}", f"{TOTALS[key]}, of the busiest sessions", labels=labels
        )
        for key in MOVED
    }
    for row in told["sessions"]:
        for key, family in by_session.items():
            family.add_metric([row["id"], row["target"]], row[key])
    yield from (held, rented, *by_tenant.values(), *by_session.values())


def buckets(times: list[int]) -> list[tuple[str, float]]:
    """Counts of ``Worker.times`` as Prometheus wants them: seconds, and how many took no longer."""
    below, made = 0, []
    for n, count in enumerate(times[:-1]):
        below += count
        made.append((str(2**n / 1e6), float(below)))
    return [*made, ("+Inf", float(sum(times)))]


def bounded(counts: dict[str, int]) -> dict[str, int]:
    """So many kinds by name, the rest together."""
    kinds = sorted(counts)
    shown = {kind: counts[kind] for kind in kinds[:MOST_KINDS]}
    if rest := sum(counts[kind] for kind in kinds[MOST_KINDS:]):
        shown["other"] = shown.get("other", 0) + rest
    return shown


def text(status: Status, private: dict[str, Any] | None = None) -> bytes:
    """What Prometheus reads."""

    class Once(Collector):
        def collect(self) -> Iterator[Metric]:
            yield from collect(status)
            if private is not None:
                yield from collect_private(private)

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Once())
    return bytes(generate_latest(registry))


def ready(status: dict[str, Any]) -> bool:
    """Can somebody log in?"""
    return any(worker["state"] == "ready" for worker in status["workers"])
