"""What `/metrics` tells, sent to an OpenTelemetry collector once a minute (extra `otel`).

The same names, labels and numbers, and nothing else. There are no traces: a span is one visitor's call at one moment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from entrenous_consent.errors import Missing
from entrenous_edge.metrics import Metrics

__all__ = ["tell"]

_SERVICE = "entrenous"
_LAST_SECONDS = 2
"""For the last sending: a process that ends does not wait for a collector that is gone."""


def tell(metrics: Metrics, url: str, instance: str, *, seconds: float = 60.0) -> Callable[[], None]:
    """Begin to send; return what ends it, which sends a last time.

    Args:
        url: of the collector; `/v1/metrics` is appended (OTLP over HTTP). instance: which process of a host this is.
        seconds: how often.

    Raises:
        Missing: OpenTelemetry is not installed.
    """
    try:
        # ruff: noqa: PLC0415 — loaded where it is asked for alone
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
        from opentelemetry.sdk.resources import Resource
    except ImportError as error:
        raise Missing("is not installed", place="OpenTelemetry", remedy="pip install 'entrenous[otel]'") from error
    exporter = OTLPMetricExporter(endpoint=f"{url.rstrip('/')}/v1/metrics", timeout=10)
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=seconds * 1000)
    about = Resource({"service.name": _SERVICE, "service.instance.id": instance})
    provider = MeterProvider([reader], resource=about, shutdown_on_exit=False)
    meter = provider.get_meter(_SERVICE)
    for name, kind, told in metrics.families():
        make = meter.create_observable_gauge if kind == "gauge" else meter.create_observable_counter
        for suffix in dict.fromkeys(suffix for suffix, _, _ in told) or ("",):
            make(name + suffix, callbacks=[partial(_observed, metrics, name, suffix)])
    return partial(provider.shutdown, timeout_millis=_LAST_SECONDS * 1000)


def _observed(metrics: Metrics, name: str, suffix: str, _: Any) -> Iterator[Any]:
    from opentelemetry.metrics import Observation

    for family in metrics.families():
        if family.name == name:
            for ends, labels, value in family.told:
                if ends == suffix:
                    yield Observation(value, labels)
