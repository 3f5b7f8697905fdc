"""`make evidence`: the next item of a visit, on the Retailrocket sessions. Writes `docs/evidence/recommend.md`, `.svg`.

Needs the folder that `ENTRENOUS_DATA` names, with `retailrocket_sessions`. How a visit is mixed is chosen on a tenth of
the *training* sessions, by a table of the others. Lists are those of a bundle that was written, signed and activated,
as `Visitor.recommend` gives them to a visitor who agreed.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from rich.progress import track
from tests.shop import Clock, Shop

from entrenous import Visitor
from entrenous.bundle import BUNDLE_LIMIT, encode_bundle, read_bundle
from entrenous.decisions.form import Arm
from entrenous.recommending.catalogue import Catalogue
from entrenous.recommending.item_table import ItemTable
from entrenous.recommending.strategy import Recommending, Strategy
from entrenous_exporters.recommend import Ranking, Visits, learn_items
from entrenous_exporters.recommend.learning import choose_mixing, popular_items
from entrenous_exporters.recommend.spec import Following

FOLDER = Path("docs/evidence")
DATA = Path(os.environ.get("ENTRENOUS_DATA", "../shared/data")) / "retailrocket_sessions"
KS = (1, 2, 3, 5, 10)
REACH = 20
_HELD_OUT = 10
_CASES = 10_000
_ANSWERS = 20

Case = tuple[list[int], int]


def lines(name: str) -> list[list[int]]:
    """Return one of the two files."""
    with gzip.open(DATA / name, "rt") as file:
        return [json.loads(line) for line in file]


class Sessions:
    """The training sessions, in numbers of items: ids as text, rising."""

    def __init__(self) -> None:
        raw = lines("train_sessions.jsonl.gz")
        self.ids = sorted({str(item) for session in raw for item in session})
        numbers = {item: number for number, item in enumerate(self.ids)}
        self.sessions = [[numbers[str(item)] for item in session] for session in raw]
        self.visits = Visits.of(self.sessions, len(self.ids))
        held = [session for i, session in enumerate(self.sessions) if i % _HELD_OUT == 0]
        others = [session for i, session in enumerate(self.sessions) if i % _HELD_OUT]
        self.others = Visits.of(others, len(self.ids))
        self.choosing = [(one[:end], one[end]) for one in held for end in range(1, len(one))][:_CASES]

    def learnt(self, k: int) -> ItemTable:
        """Return the table at this k, its mixing chosen on sessions that it was not learnt from then."""
        following = Following(k=k, strongest=20, reach=REACH)
        mixing = choose_mixing(self.others, self.choosing, following)
        return learn_items(self.visits, k=k, reach=REACH, mixing=mixing)

    def catalogue(self, k: int) -> Catalogue:
        """Return the catalogue of these items: their ids are numbers, and nothing else is known of them here."""
        popular = popular_items(self.visits.items, self.visits.visitors, len(self.ids), k)
        return Catalogue(ids=self.ids, integers=True, attributes=(), popular=popular, regions={})


def bundle(shop: Shop, table: ItemTable, catalogue: Catalogue) -> int:
    """Make the shop's bundle one that recommends from these; return its bytes."""
    read = read_bundle(shop.bundle.read_bytes())
    like = read.manifest.decisions["promotion"]
    rule = replace(
        like,
        kind="recommend",
        model="",
        patterns=(),
        tranches=("everyone",),
        arms={"next": Arm(value="next"), "best_sellers": Arm(value="best_sellers")},
        choice={"everyone": {"next": 10_000}},
        default_arm="best_sellers",
        experiment=None,
        cap=None,
        recommending=Recommending(
            catalogue="items",
            successors="following",
            spread="",
            tastes={},
            strategies={"next": Strategy(sequence=1.0), "best_sellers": Strategy(popular=1.0)},
        ),
    )
    tables = {"items": catalogue.encode(), "following": table.encode()}
    data = encode_bundle(replace(read.manifest, decisions={"next_item": rule}), {}, tables)
    shop.bundle.write_bytes(data)
    return len(data)


def asked(visitor: Visitor, cases: Sequence[tuple[Sequence[int], int]]) -> Iterator[tuple[Sequence[object], float]]:
    """Yield each case's list, and the microseconds that it took."""
    for prefix, _ in cases:
        start = perf_counter()
        told = visitor.recommend("next_item", items=prefix, count=_ANSWERS)
        yield told.items, (perf_counter() - start) * 1e6


def measured(cases: Sequence[tuple[Sequence[int], int]], table: ItemTable, catalogue: Catalogue) -> tuple[Ranking, str]:
    """Return how a visitor's lists do, and the row's bytes and times."""
    with TemporaryDirectory() as folder:
        shop = Shop(home=Path(folder), clock=Clock())
        size = bundle(shop, table, catalogue)
        client = shop.open()
        visitor = client.visitor("somebody")
        if not visitor.consent(client.example_choices).accepted:
            raise RuntimeError("the consent was not taken in")
        hits, inverse, times = 0, 0.0, []
        for (items, took), (_, target) in zip(asked(visitor, cases), cases, strict=True):
            times.append(took)
            if target in items:
                hits += 1
                inverse += 1 / (items.index(target) + 1)
        client.close()
    result = Ranking(cases=len(cases), hit_rate=hits / len(cases), reciprocal_rank=inverse / len(cases))
    return result, f"{size:,} | {np.median(times):.0f} | {np.percentile(times, 99):.0f}"


def main() -> None:
    """Measure, and write both files."""
    learning = Sessions()
    cases = [(prefix, target) for prefix, target in lines("test_prefix_target.jsonl.gz")]
    rows, found = [], []
    for k in track(KS, description="tables"):
        table, catalogue = learning.learnt(k), learning.catalogue(k)
        result, measures = measured(cases, table, catalogue)  # type: ignore[arg-type]
        found.append(result)
        mixing = table.mixing
        rows.append(
            f"| {k} | {result.hit_rate:.4f} ± {1.96 * result.error:.4f} | {result.reciprocal_rank:.4f} "
            f"| {table.pairs:,} | {len(catalogue.popular):,} | {measures} "
            f"| {mixing.fading}, {mixing.own}, {mixing.own_fading} |"
        )
    _draw(found)
    (FOLDER / "recommend.md").write_text(f"""# The next item of a visit, and what *k* costs
Retailrocket: {len(learning.sessions):,} training sessions, {len(learning.ids):,} items; all {len(cases):,} test cases,
twenty answers each, as `Visitor.recommend` gives them from a signed bundle to a visitor who agreed. `make evidence`
writes this page anew; `python -m benches.evidence.recommend` this page alone.

How a visit is mixed is chosen on {len(learning.choosing):,} cases of training sessions that the table had not seen,
and so was the reach of {REACH} items.

| k | HR@20, 95 % | MRR@20 | pairs | popular | bundle, bytes | µs a call, median | 99th | fading, own, own fading |
|---:|---:|---:|---:|---:|---:|---:|---:|---|
{chr(10).join(rows)}

![Hit rate and reciprocal rank by k](recommend.svg)

k is the fewest sessions behind every pair and every popular item: nobody is known here, so a session counts as a
visitor. A bundle may have {BUNDLE_LIMIT:,} bytes. A list that the visit does not fill is filled with what is popular.
A call decides which strategy the visitor gets, notes its receipt and makes the list; times are of one process on a
shared machine.

Beside it, as published on the same split: V-SKNN .547/.271, which ships other visitors' sessions; SR-GNN about
.503/.266.
""")


def _draw(found: Sequence[Ranking]) -> None:
    mpl.rcParams.update({"svg.hashsalt": "entrenous", "svg.fonttype": "none", "font.size": 9})
    figure, axes = plt.subplots(figsize=(5, 3), layout="constrained")
    axes.plot(KS, [one.hit_rate for one in found], marker="o", label="HR@20")
    axes.plot(KS, [one.reciprocal_rank for one in found], marker="o", label="MRR@20")
    axes.set(xlabel="k: visitors behind every pair", ylim=(0, None), xticks=KS)
    axes.legend(frameon=False)
    figure.savefig(FOLDER / "recommend.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
