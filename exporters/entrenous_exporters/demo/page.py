"""The demonstration as one page: self-contained, offline, figures as inline SVG."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from entrenous_exporters.demo.findings import Findings
from entrenous_exporters.demo.replay import SIMULATED

__all__ = ["render"]

_QUIET = "#5b6675"
_COLOURS = ("#0b6e4f", "#c46210", "#3a5a9b", "#8c8c8c", "#b23a48", "#6b4e9b", "#2f2f2f")

_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1d2430; background: #fbfaf7; margin: 0 auto; max-width: 60rem;
  padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .5rem; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .4rem; }
p { margin: .4rem 0; } .quiet { color: #5b6675; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .93rem; }
.wide { overflow-x: auto; }
th, td { text-align: right; padding: .35rem .6rem; border-bottom: 1px solid #ddd8cc; }
th:first-child, td:first-child { text-align: left; } th { font-weight: 600; vertical-align: bottom; }
figure { margin: 1rem 0; } svg { max-width: 100%; height: auto; }
"""


def render(found: Findings) -> str:
    """Return the page as HTML."""
    full, partial = _ends(found)
    sentence = (
        f"With everything granted, the model tells who comes again within 3 days with an AUC of {full.auc:.3f}; "
        f"without past purchases, {partial.auc:.3f}; and without consent it is not asked at all."
    )
    parts = [
        "<!doctype html><html lang=en><head><meta charset=utf-8>",
        '<meta name=viewport content="width=device-width, initial-scale=1"><link rel=icon href="data:,">',
        f"<title>entrenous: the demonstration</title><style>{_STYLE}</style></head><body>",
        f"<h1>{escape(sentence)}</h1>",
        f"<p class=quiet>{found.trips:,} trips of {len(found.households):,} households, October to December 2017, "
        "replayed through a worker over HTTP. The trips are real (The Complete Journey, 84.51°); the mix of "
        "consents is ours.</p>",
        "<h2>The price of a refusal</h2>",
        _quality(found),
        f"<figure>{_calibration(found)}</figure>",
        "<h2>What each consent led to</h2>",
        f"<div class=wide>{_answers(found)}</div>",
        f"<figure>{_bars(found)}</figure>",
        "<h2>Tranches</h2>",
        _table(
            ("tranche", "decisions", "came again within 3 days"),
            [(tranche, f"{n:,}", f"{share:.1%}") for tranche, (n, share) in found.again.items()],
        ),
        "<h2>What it costs, and what it leaves</h2>",
        _table(("", ""), found.facts()),
        "<h2>What the offers changed (simulated)</h2>",
        f"<p>{escape(found.answer['headline'])}</p><p class=quiet>{escape(SIMULATED)}</p>",
        "</body></html>",
    ]
    return "\n".join(parts)


def _ends(found: Findings) -> tuple[Any, Any]:
    ordered = sorted(found.served.values(), key=lambda quality: quality.auc)
    return ordered[-1], ordered[0]


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th scope=col>{escape(one)}</th>" for one in headings)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _quality(found: Findings) -> str:
    rows = []
    for pattern, quality in found.served.items():
        shares = " / ".join(f"{share:.0%}" for share in quality.shares)
        rows.append(
            (
                pattern,
                f"{quality.rows:,}",
                f"{quality.auc:.3f}",
                f"{quality.ece:.3f}",
                shares,
                f"{found.central[pattern].auc:.3f}",
                f"{found.strangers[pattern].auc:.3f}",
            )
        )
    return _table(
        (
            "consent pattern",
            "decisions",
            "AUC",
            "calibration error",
            "cold / warm / hot",
            "AUC, all households",
            "AUC, households it never learnt from",
        ),
        rows,
    )


def _answers(found: Findings) -> str:
    keys = sorted({key for counts in found.answers.values() for key in counts})
    headings = ("group", "households", *(f"{reason} {cause}".strip() for reason, cause in keys))
    rows = [
        (group, str(found.sizes[group]), *(f"{counts[key]:,}" if key in counts else "" for key in keys))
        for group, counts in found.answers.items()
    ]
    return _table(headings, rows)


def _calibration(found: Findings) -> str:
    figure = Figure(figsize=(7.2, 4.2))
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color=_QUIET, linewidth=0.8, linestyle=(0, (4, 4)))
    for colour, (pattern, quality) in zip(_COLOURS, found.served.items(), strict=False):
        axes.plot(*zip(*quality.curve, strict=True), marker="o", color=colour, label=pattern)
    axes.set(xlabel="predicted", ylabel="came again", xlim=(0, 1), ylim=(0, 1), title="Calibration, by consent pattern")
    axes.legend(frameon=False)
    return _svg(figure, "Predicted probability against the share that came again, by consent pattern")


def _bars(found: Findings) -> str:
    keys = sorted({key for counts in found.answers.values() for key in counts})
    groups = list(found.answers)[::-1]
    figure = Figure(figsize=(7.2, 4.0))
    axes = figure.add_subplot()
    left = [0] * len(groups)
    for colour, key in zip(_COLOURS, keys, strict=False):
        counts = [found.answers[group].get(key, 0) for group in groups]
        axes.barh(groups, counts, left=left, color=colour, label=" ".join(key).strip())
        left = [a + b for a, b in zip(left, counts, strict=True)]
    axes.set(xlabel="decisions", title="Reasons and causes, by consent")
    axes.legend(frameon=False, fontsize=8)
    return _svg(figure, "How many decisions ended with each reason and cause, by consent group")


def _svg(figure: Any, description: str) -> str:
    """Return the figure as inline SVG with selectable text; the same figure gives the same bytes."""
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    figure.set_layout_engine("tight")
    figure.set_facecolor("none")
    target = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "entrenous", "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure.savefig(target, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    text = target.getvalue()
    start = text.index("<svg")
    return f'<svg role="img" aria-label="{escape(description)}"' + text[start + 4 :]
