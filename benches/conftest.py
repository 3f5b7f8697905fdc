"""Figures as ratios in one run: each group has one baseline, marked by its name, and a table of ratios closes the
run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest

from entrenous import Client, Visitor

BASELINES = {
    "decision": "test_identity_call",
    "start": "test_import_onnxruntime",
    "event": "test_identity_call_again",
    "features": "test_identity_call_beside_features",
    "update": "test_bare_get_of_the_bundle",
    "worker": "test_plain_reply",
    "signals": "test_base64_alone",
    "gate": "test_decision_with_and_without_the_gate",
    "targeting": "test_identity_call_beside_rules",
    "lifetime": "test_identity_call_beside_lifetime",
    "recommend": "test_identity_call_beside_lists",
}


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with Client.demo() as client:
        yield client


@pytest.fixture(scope="module")
def visitor(client: Client) -> Visitor:
    """A visitor with some history, who granted everything."""
    visitor = client.visitor("customer-42")
    assert visitor.consent(client.example_choices).accepted
    for _ in range(5):
        visitor.observe("view_item", category="boots", price=9900, currency="EUR")
        visitor.observe("purchase", category="boots", value=9900, currency="EUR")
    return visitor


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    groups: dict[str, list[Any]] = defaultdict(list)
    for bench in getattr(config, "_benchmarksession").benchmarks:  # noqa: B009 — pytest-benchmark's own attribute
        groups[bench.group].append(bench)
    for group, benches in groups.items():
        base = next((bench for bench in benches if bench.name == BASELINES.get(group)), None)
        if base is None:
            continue
        terminalreporter.section(f"{group}: medians, and ratios to {base.name} in this run")
        for bench in sorted(benches, key=lambda one: one.stats.median):
            ratio = bench.stats.median / base.stats.median
            facts = "".join(f"  {name} {value:,}" for name, value in bench.extra_info.items())
            terminalreporter.write_line(f"{bench.name:48} {bench.stats.median * 1e6:12.1f} µs {ratio:8.2f} ×{facts}")
