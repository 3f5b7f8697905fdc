"""Promise 9, nobody inside the model: one visitor tries to own a pair, a popular item or a region's list."""

from __future__ import annotations

from tests.recommending import SPEC, write_files
from tests.shop import NOON

from entrenous.recommending.catalogue import parse_catalogue
from entrenous.recommending.item_table import parse_item_table
from entrenous_exporters.readers import scan
from entrenous_exporters.tables import open_backend
from entrenous_exporters.workshop import train_files

K = 5


def trained(shop, folder, k: int):
    spec = write_files(folder, spec=SPEC.replace("k = 5", f"k = {k}"))
    made = train_files(spec, shop.policy, folder / "trained.msgpack", created=NOON, progress=lambda _: None)
    catalogue = parse_catalogue(made.bundle.tables["catalogue"])
    return catalogue, parse_item_table(made.bundle.tables["successors"])


def test_a_visitor_with_a_hundred_looks_owns_no_pair_no_popular_item_and_no_region(shop, tmp_path):
    catalogue, table = trained(shop, tmp_path, 1)
    secret, atlas = catalogue.number("secret"), catalogue.number("atlas")
    assert atlas in table.scores([secret]), "the attack is real: with k = 1 the pair ships"
    assert secret in catalogue.popular
    assert "island" in catalogue.regions

    catalogue, table = trained(shop, tmp_path, K)
    table.mixing = type(table.mixing)(fading=0.5, own=0.0)
    assert table.scores([secret]) == {}
    assert all(secret not in table.scores([item]) for item in range(len(catalogue)))
    assert secret not in catalogue.popular
    assert catalogue.regions.keys() == {"north", "south"}


def test_every_pair_and_every_popular_item_rests_on_k_visitors_who_granted_improve(shop, tmp_path):
    catalogue, table = trained(shop, tmp_path, K)
    table.mixing = type(table.mixing)(fading=0.5, own=0.0)
    seen: dict[str, set[str]] = {}
    there: dict[tuple[str, str], set[str]] = {}
    together: dict[frozenset[str], set[str]] = {}
    visits: dict[str, set[str]] = {}
    for row in scan(open_backend(), tmp_path / "looks.csv").to_pyarrow().to_pylist():
        if row["improve"] == "true":
            seen.setdefault(row["item"], set()).add(row["visitor"])
            there.setdefault((row["region"], row["item"]), set()).add(row["visitor"])
            visits.setdefault(row["visitor"], set()).add(row["item"])
    for visitor, items in visits.items():
        for one in items:
            for other in items - {one}:
                together.setdefault(frozenset({one, other}), set()).add(visitor)

    popular = [str(catalogue.item(number)) for number in catalogue.popular]
    assert popular
    assert all(len(seen[one]) >= K for one in popular)
    assert set(popular) == {one for one, who in seen.items() if len(who) >= K}
    for region, order in catalogue.regions.items():
        assert all(len(there[region, str(catalogue.item(number))]) >= K for number in order)
    assert table.pairs > 5
    for number in range(len(catalogue)):
        for other in table.scores([number]):
            pair = frozenset({str(catalogue.item(number)), str(catalogue.item(other))})
            assert len(together[pair]) >= K
