"""`make evidence`: the next item of a visit, on the Retailrocket sessions. Writes `docs/evidence/recommend.md`, `.svg`.

Needs the folder that `ENTRENOUS_DATA` names, with `retailrocket_sessions`. How a visit is mixed is chosen on {len(learning.choosing):,} cases of training sessions that the table had not seen,
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
