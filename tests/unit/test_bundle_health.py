"""A bundle that does not score here as it did there never serves; one that makes decisions fail is rolled back."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import count
from types import SimpleNamespace

import numpy as np
import pytest
from tests.decisions import agreeing
from tests.kinds import generated_rows
from tests.shop import Clock, Shop

from entrenous.bundle import encode_bundle, read_bundle
from entrenous.health import FEWEST_FAULTS, WINDOW_SECONDS, Health
from entrenous.model.proof import PROOF_ROWS, check_proof, proof_of, proof_rows
from entrenous.model.scorer import Scorer
from entrenous_consent.errors import Malformed
from entrenous_exporters.generated import CREATED, demo_inputs
from entrenous_exporters.train import Trained, train


@pytest.fixture(scope="module")
def trained() -> Trained:
    spec, policy = demo_inputs()
    return train(spec, policy, generated_rows(), created=CREATED)


def forged(data: bytes, version: int, row: int = 2) -> bytes:
    """Return a bundle whose record of one margin is the next float."""
    read = read_bundle(data)
    margins = np.frombuffer(read.manifest.proofs["promotion"], "<f4").copy()
    margins[row] = np.nextafter(margins[row], np.float32(np.inf))
    manifest = replace(read.manifest, version=version, proofs={"promotion": margins.tobytes()})
    return encode_bundle(manifest, read.models)


# Proof


def test_the_vectors_follow_from_the_schema_and_are_nobodys(trained: Trained):
    categories = [len(feature.values) for feature in trained.bundle.manifest.features]
    rows = proof_rows(categories)
    assert len(rows) == PROOF_ROWS
    assert np.isnan(rows[0]).all()
    for row in rows[1:]:
        assert len(row) == len(categories)
        assert all(count == 0 or 0 <= value < count for value, count in zip(row, categories, strict=True))
    assert np.array_equal(rows, proof_rows(categories), equal_nan=True)


def test_what_is_exported_proves_itself_to_the_bit(trained: Trained):
    manifest = trained.bundle.manifest
    categories, columns = [len(feature.values) for feature in manifest.features], manifest.columns_of("promotion")
    scorer = Scorer(trained.bundle.models["promotion"], features=len(categories), columns=columns)
    assert proof_of(scorer, categories, columns) == manifest.proofs["promotion"]
    check_proof(scorer, categories, columns, manifest.proofs["promotion"], tolerance=0.0, place="proofs.promotion")
    with pytest.raises(Malformed, match="is not 4 rows"):
        check_proof(scorer, categories, columns, b"\0" * 12, tolerance=0.0, place="proofs.promotion")
    nans = np.full(PROOF_ROWS * columns, np.nan, "<f4").tobytes()
    with pytest.raises(Malformed, match="was recorded"):
        check_proof(scorer, categories, columns, nans, tolerance=1.0, place="proofs.promotion")


@pytest.mark.parametrize("row", [0, 7])
def test_one_bit_off_is_not_taken_and_not_tried_again_after_a_restart(shop: Shop, trained: Trained, row: int):
    shop.bundle.write_bytes(trained.data)
    client = shop.open()
    visitor = agreeing(client)
    shop.bundle.write_bytes(forged(trained.data, 2, row))
    shop.publish()
    outcome = client.refresh()
    assert not outcome.accepted
    assert "proofs.promotion" in outcome.message
    assert client.bundle.version == 1
    assert visitor.decide("promotion", "fallback").reason in ("TARGETING_MATCH", "SPLIT")
    client.close()
    again = shop.open_as_is()
    assert again.bundle.version == 1
    assert again.visitor("customer-42").decide("promotion", "fallback").reason in ("TARGETING_MATCH", "SPLIT")


def test_a_first_bundle_that_is_not_as_recorded_leaves_the_default(shop: Shop, trained: Trained):
    shop.bundle.write_bytes(forged(trained.data, 1))
    shop.publish()
    client = shop.open_as_is()
    assert client.bundle is None
    assert client.refused is not None
    assert client.visitor("x").decide("promotion", "fallback").cause == "no_bundle"


def test_a_bundle_without_a_proof_is_read_as_before(shop: Shop, trained: Trained):
    shop.bundle.write_bytes(encode_bundle(replace(trained.bundle.manifest, proofs={}), trained.bundle.models))
    assert shop.open().bundle.version == 1


# Roll-back by faults


def poison(client, version: int) -> None:
    """Make the model of this version fail as it runs; what no check of bytes foresees."""
    active = client._engine.active
    assert active.bundle.manifest.version == version

    def fails(*_):
        raise RuntimeError("the runtime fails")

    for scorer in active.scorers.values():
        scorer.margin = scorer.margins = fails  # type: ignore[method-assign]


def served(client, seconds: float = 10) -> int:
    """Wait for another version than 2."""
    until = time.monotonic() + seconds
    while client.bundle is not None and client.bundle.version == 2 and time.monotonic() < until:
        time.sleep(0.01)
    return client.bundle.version


def test_a_bundle_that_makes_decisions_fail_is_rolled_back_and_stays_so(shop: Shop, trained: Trained):
    shop.bundle.write_bytes(trained.data)
    client = shop.open()
    visitor = agreeing(client)
    shop.bundle.write_bytes(encode_bundle(replace(trained.bundle.manifest, version=2), trained.bundle.models))
    shop.publish()
    assert client.refresh().accepted
    poison(client, 2)
    answers = [visitor.decide("promotion", "fallback") for _ in range(FEWEST_FAULTS)]
    assert {(one.value, one.reason, one.cause) for one in answers} == {("fallback", "ERROR", "fault")}
    assert served(client) == 1
    assert visitor.decide("promotion", "fallback").reason in ("TARGETING_MATCH", "SPLIT")
    assert "made 20 of 20 decisions fail" in str(client.refused)
    client.refresh()
    assert client.bundle.version == 1
    client.close()
    assert shop.open_as_is().bundle.version == 1


def counted(faults: int, decisions: int, *, seconds: int = 0, bundle: object = "a bundle") -> list[str]:
    """Return what was doubted after so many faults, each behind so many decisions and seconds."""
    numbers, told = count(), []
    health = Health(numbers, lambda _, what: told.append(what))
    active, clock = SimpleNamespace(bundle=bundle), Clock()
    for _ in range(faults):
        for _ in range(decisions):
            next(numbers)
        clock.now += seconds
        health.fault(active, clock())  # type: ignore[arg-type]
    time.sleep(0.05)
    return told


def test_few_faults_or_faults_among_many_decisions_roll_nothing_back():
    assert counted(FEWEST_FAULTS - 1, 0) == []
    assert counted(FEWEST_FAULTS, 0) == ["made 20 of 20 decisions fail"]
    assert counted(3 * FEWEST_FAULTS, 25) == []
    assert len(counted(FEWEST_FAULTS, 10)) == 1
    assert counted(3 * FEWEST_FAULTS, 0, seconds=WINDOW_SECONDS // 10) == [], "so few in any minute"
    assert counted(FEWEST_FAULTS, 0, bundle=None) == []


def test_a_store_out_of_reach_and_a_context_that_is_none_are_no_faults(shop: Shop, trained: Trained, monkeypatch):
    shop.bundle.write_bytes(trained.data)
    client = shop.open()
    visitor = agreeing(client)
    faults = []
    monkeypatch.setattr(client._engine, "failed", lambda: faults.append(1))
    assert visitor.decide("promotion", None, {"page": 3}).reason == "ERROR"
    assert faults == []
