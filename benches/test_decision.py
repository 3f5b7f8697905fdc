"""A whole decision against a bare ONNX Runtime identity call, both on prebound memory, in one run."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from entrenous.model.scorer import open_session


def _steady(benchmark, work, *, iterations: int = 200):
    """Time `work` many times a round, after warming up, so that neither the timer nor a cold cache counts."""
    return benchmark.pedantic(work, rounds=60, iterations=iterations, warmup_rounds=5)


def _identity(width: int) -> bytes:
    shapes = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, width]) for name in ("x", "margin")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["margin"])], "identity", shapes[:1], shapes[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return model.SerializeToString()


@pytest.fixture(scope="module")
def identity():
    session = open_session(_identity(9))
    row, out = np.zeros((1, 9), np.float32), np.zeros((1, 9), np.float32)
    binding = session.io_binding()
    binding.bind_input("x", "cpu", 0, np.float32, row.shape, row.ctypes.data)
    binding.bind_output("margin", "cpu", 0, np.float32, out.shape, out.ctypes.data)
    return lambda: session.run_with_iobinding(binding)


@pytest.mark.benchmark(group="decision")
def test_identity_call(benchmark, identity):
    _steady(benchmark, identity)


@pytest.mark.benchmark(group="decision")
def test_score_alone(benchmark, client, visitor):
    visitor.decide("promotion", "none")
    seen = client._engine._open[visitor._handle]
    (scorer,) = client._engine.active.scorers.values()
    _steady(benchmark, lambda: scorer.margin(seen.head, [], 0))


@pytest.mark.benchmark(group="decision")
def test_decision_with_the_profile_open(benchmark, visitor):
    assert _steady(benchmark, lambda: visitor.decide("promotion", "none")).margin is not None


@pytest.mark.benchmark(group="decision")
def test_decision_of_an_identifier(benchmark, client, visitor):
    decision = _steady(benchmark, lambda: client.visitor("customer-42").decide("promotion", "none"))
    assert decision.margin is not None


@pytest.mark.benchmark(group="decision")
def test_decision_from_sqlite_with_two_purposes(benchmark, client, visitor):
    engine = client._engine

    def decide():
        engine._open.clear()
        return visitor.decide("promotion", "none")

    assert _steady(benchmark, decide, iterations=20).margin is not None


@pytest.mark.benchmark(group="decision")
def test_refusal_of_a_stranger(benchmark, client):
    stranger = client.visitor("stranger")
    decision = _steady(benchmark, lambda: stranger.decide("promotion", "none"))
    assert decision.cause == "consent_missing"


@pytest.mark.benchmark(group="event")
def test_identity_call_again(benchmark, identity):
    _steady(benchmark, identity)


@pytest.mark.benchmark(group="event")
def test_event_acknowledged(benchmark, visitor):
    def observe():
        return visitor.observe("view_item", category="boots", price=9900, currency="EUR")

    assert _steady(benchmark, observe, iterations=10).accepted
