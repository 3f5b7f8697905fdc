"""`make evidence`: every kind and learner against 100,000 hostile rows. Writes `docs/evidence/parity.md`.

The models are learnt from the generated shop, so their quality says nothing; what they answer is the same everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.progress import track
from tests.kinds import dealt_rows, generated_rows, situation_spec, uplift_spec

from entrenous_exporters.build import build
from entrenous_exporters.built import Built, score
from entrenous_exporters.generated import demo_inputs
from entrenous_exporters.rows import Rows
from entrenous_exporters.spec import METHODS, TrainingSpec
from entrenous_exporters.splits import learnt

FOLDER = Path("docs/evidence")
ROWS = 100_000
TREES = ("hist_gradient_boosting", "lightgbm", "xgboost", "random_forest", "extra_trees")


def specifications() -> Iterator[tuple[str, TrainingSpec]]:
    """Yield every kind and learner with its name."""
    plain, _ = demo_inputs()
    for kind in TREES:
        boosted = kind in TREES[:3]
        learner = replace(
            plain.learner,
            kind=kind,
            learning_rate=plain.learner.learning_rate if boosted else 0.0,
            calibration="none" if boosted else "sigmoid",
        )
        yield f"propensity, {kind}", replace(plain, learner=learner)
        if boosted:
            yield f"propensity, {kind}, sigmoid", replace(plain, learner=replace(learner, calibration="sigmoid"))
    for method in METHODS:
        spec = uplift_spec()
        assert spec.trial is not None
        yield f"uplift, {method}-learner", replace(spec, trial=replace(spec.trial, method=method))
    yield (
        "propensity, logistic",
        replace(plain, learner=replace(plain.learner, kind="logistic", trees=0, leaves=0, l2=1.0)),
    )
    yield "situation, centroids", situation_spec()


def near_a_cut(built: Built, learn: Rows) -> int:
    """Return how many observed rows lie so near a cut of a dense score that the tolerance could move them."""
    margins = score(built.model, learn.x, singly=True).astype(np.float64)
    near = np.zeros(len(margins), bool)
    for column, cuts in zip(margins.T, built.cuts, strict=False):
        for cut in cuts:
            near |= np.abs(column - cut) <= built.tolerance * np.maximum(1, np.abs(column))
    return int(near.sum())


def main() -> None:
    """Compare, and write the page."""
    rows = generated_rows()
    dealt = dealt_rows(rows)
    lines = []
    for name, spec in track(list(specifications()), description="parity"):
        given = dealt if spec.trial else rows
        taught, _ = learnt(given, spec)
        learn = given.where(taught)
        built = build(spec, learn, learn.x, rows=ROWS, progress=lambda _: None)
        parity = built.parity
        assert parity["rows"] == ROWS
        if built.tolerance:
            near = parity.get("near_another_situation")
            edge = f"{near:,} of {ROWS:,}" if near is not None else f"{near_a_cut(built, learn):,} of {len(learn.x):,}"
            said = f"{parity['distance']:.1e} of {built.tolerance:.1e} allowed | {edge}"
        else:
            said = f"0 bits differ; library {parity['library_distance']:.1e} on {parity['library_rows']:,} rows | –"
        lines.append(f"| {name} | {ROWS:,} | {said} | {len(built.model):,} |")
        print(lines[-1])
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "parity.md").write_text(PAGE.format(rows=ROWS, lines="\n".join(lines)), "utf-8")


PAGE = """# The same answer everywhere
`make evidence` writes this page (`benches/evidence/parity.py`). Each model is learnt from the generated shop (2,000
made-up visitors) and held against {rows:,} hostile rows: observed ones in which a random share of the values is each
threshold and its float32 neighbours, NaN, ±0, denormals, the largest float32 and codes that no value has.

Trees have to give the same bits as the reference walk, with 1 and 2 threads, all rows at once and one at a time. The
library's own answer is compared before thresholds are coarsened and leaves held to k visitors. Dense graphs are scored
row by row and have to lie within the manifest's tolerance, relative to the larger of 1 and the margin; the last column
but one counts rows so near a cut, or to a second situation, that the tolerance could decide otherwise (of observed rows
for cuts, of hostile ones for situations).

| kind and model | rows | compared | near a cut | bytes |
|---|---|---|---|---|
{lines}
"""

if __name__ == "__main__":
    main()
