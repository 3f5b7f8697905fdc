"""What the consent gate costs a decision: the engine's own path with and without its check, in turn, in one run."""

from __future__ import annotations

import ast
import inspect
import textwrap
from statistics import median
from time import perf_counter_ns
from types import MethodType

import pytest

from entrenous import engine as module
from entrenous.engine import Engine

ROUNDS, CALLS = 400, 100


def without_the_gate(engine: Engine) -> MethodType:
    """Return `Engine.open` as it is written, but taking an open record for good without asking anything of it."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(Engine.open)))
    gates = [node for node in ast.walk(tree) if isinstance(node, ast.If) and isinstance(node.test, ast.BoolOp)]
    (gate,) = (one for one in gates if ".holds(" in ast.unparse(one.test))
    assert len(gate.test.values) == 2, "the gate asks something new: say so here"
    gate.test = gate.test.values[0]
    names = dict(vars(module))
    exec(compile(ast.fix_missing_locations(tree), "without_the_gate", "exec"), names)
    return MethodType(names["open"], engine)


@pytest.mark.benchmark(group="gate")
def test_decision_with_and_without_the_gate(benchmark, client, visitor):
    engine, handle = client._engine, visitor._handle
    gated, ungated = engine.open, without_the_gate(engine)

    def timed(opened) -> float:
        engine.open = opened
        started = perf_counter_ns()
        for _ in range(CALLS):
            engine.decide(handle, "promotion", "none", None)
        return (perf_counter_ns() - started) / CALLS

    def both() -> tuple[float, float]:
        return timed(gated), timed(ungated)

    for _ in range(20):
        both()
    pairs = [both() for _ in range(ROUNDS)]
    engine.open = ungated
    margin = engine.decide(handle, "promotion", "none", None).margin
    engine.open = gated
    assert engine.decide(handle, "promotion", "none", None).margin == margin
    benchmark.extra_info["gate, ns (median)"] = round(median(one - other for one, other in pairs))
    benchmark.extra_info["without it, ns"] = round(median(other for _, other in pairs))
    benchmark.pedantic(
        lambda: engine.decide(handle, "promotion", "none", None), rounds=60, iterations=200, warmup_rounds=5
    )
