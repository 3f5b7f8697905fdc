"""A list of twenty out of 100,000 items against a bare ONNX Runtime identity call, in one run: of a visit with five
items, of one with none, and by attributes, tastes and what is popular at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from benches.evidence.recommend import bundle
from benches.test_decision import _identity
from tests.shop import Clock, Shop

from entrenous import Visitor
from entrenous.model.scorer import open_session
from entrenous.recommending.catalogue import Catalogue, ItemAttribute
from entrenous.recommending.item_table import MOST_ITEMS, ItemTable, Mixing
from entrenous.recommending.rank import Asked, Shelf, rank
from entrenous.recommending.strategy import Strategy

SUCCESSORS = 4


@pytest.fixture(scope="module")
def browsing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visitor]:
    """A visitor who agreed, in a shop with as many items and pairs as a bundle holds."""
    following = (np.arange(MOST_ITEMS)[:, None] + np.arange(1, SUCCESSORS + 1)) % MOST_ITEMS
    table = ItemTable(
        starts=np.arange(MOST_ITEMS + 1) * SUCCESSORS,
        successors=memoryview(following.astype(np.uint32).tobytes()).cast("I"),
        weights=bytes(200 - 10 * (i % SUCCESSORS) for i in range(MOST_ITEMS * SUCCESSORS)),
        scale=1.0,
        mixing=Mixing(),
    )
    ids = [f"sku-{i:06d}" for i in range(MOST_ITEMS)]
    popular = np.random.default_rng(1).permutation(MOST_ITEMS).tolist()
    catalogue = Catalogue(ids=ids, integers=False, attributes=(), popular=popular, regions={})
    folder: Path = tmp_path_factory.mktemp("shop")
    shop = Shop(home=folder, clock=Clock())
    bundle(shop, table, catalogue)
    with shop.open() as client:
        visitor = client.visitor("somebody")
        assert visitor.consent(client.example_choices).accepted
        yield visitor


@pytest.mark.benchmark(group="recommend")
def test_identity_call_beside_lists(benchmark):
    session = open_session(_identity(9))
    row, out = np.zeros((1, 9), np.float32), np.zeros((1, 9), np.float32)
    binding = session.io_binding()
    binding.bind_input("x", "cpu", 0, np.float32, row.shape, row.ctypes.data)
    binding.bind_output("margin", "cpu", 0, np.float32, out.shape, out.ctypes.data)
    benchmark.pedantic(lambda: session.run_with_iobinding(binding), rounds=60, iterations=200, warmup_rounds=5)


@pytest.mark.benchmark(group="recommend")
@pytest.mark.parametrize("visited", [(), ("sku-000017", "sku-050000", "sku-000017", "sku-099999", "sku-012345")])
def test_list_of_twenty(benchmark, browsing, visited):
    def work() -> tuple[str | int, ...]:
        return browsing.recommend("next_item", items=visited, count=20).items

    assert len(benchmark.pedantic(work, rounds=60, iterations=50, warmup_rounds=5)) == 20


@pytest.mark.benchmark(group="recommend")
def test_list_by_five_attributes_and_two_tastes(benchmark):
    chance = np.random.default_rng(5)
    attributes = [
        ItemAttribute(
            name=name,
            values=tuple(f"{name} {i}" for i in range(many)),
            codes=memoryview(chance.integers(0, many + 1, MOST_ITEMS).astype(np.uint16).tobytes()).cast("H"),
        )
        for name, many in (("category", 60), ("brand", 400), ("colour", 20), ("size", 30), ("price_band", 8))
    ]
    ids = [f"sku-{i:06d}" for i in range(MOST_ITEMS)]
    popular = chance.permutation(MOST_ITEMS)[:60_000].tolist()
    catalogue = Catalogue(ids=ids, integers=False, attributes=attributes, popular=popular, regions={})
    shelf = Shelf(catalogue=catalogue, successors=None, spread=0)
    strategy = Strategy(content=1.0, affinity=1.0, popular=0.2, most=4)
    asked = Asked(count=20, visited=[1, 2, 3, 4, 5], tastes=[(0, 3), (1, 7)])

    assert (
        len(benchmark.pedantic(lambda: rank(shelf, strategy, asked), rounds=60, iterations=20, warmup_rounds=5)) == 20
    )
