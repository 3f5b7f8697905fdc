"""The answer as one offline page: the sentence, lifts drawn with their intervals, then figures. No script."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from math import isfinite

from entrenous_evaluation.answer import FIGURES, Answer, Line, Population
from entrenous_evaluation.spoken import NAMES, facts, headline, level, lift, ratio, spent
from entrenous_evaluation.statistics import Interval, Unknown

__all__ = ["render"]

_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1d2430; background: #fbfaf7; margin: 0 auto; max-width: 64rem;
  padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .6rem; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .4rem; }
p { margin: .4rem 0; } .quiet { color: #5b6675; } .simulated { background: #fff2cc; padding: .5rem .8rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem; }
th, td { text-align: right; padding: .35rem .7rem .35rem 0; border-bottom: 1px solid #ddd8cc; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } th { font-weight: 600; vertical-align: bottom; }
svg { max-width: 100%; height: auto; } figure { margin: 1rem 0; }
text { font: 13px system-ui, sans-serif; fill: #1d2430; } .axis { stroke: #b9b3a4; } .zero { stroke: #1d2430; }
.range { stroke-width: 6; stroke-linecap: round; opacity: .45; }
"""
_COLOURS = {"conversion": "#3a5a9b", "order_value": "#c46210", "revenue_per_visitor": "#0b6e4f"}


def render(answer: Answer) -> str:
    """Return the page as HTML; the same answer gives the same page."""
    parts = [
        "<!doctype html><html lang=en><head><meta charset=utf-8>",
        '<meta name=viewport content="width=device-width, initial-scale=1">',
        '<link rel=icon href="data:,">',
        f"<title>{escape(answer.experiment)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{escape(headline(answer))}</h1>",
    ]
    if answer.simulated:
        parts.append(f"<p class=simulated><strong>Simulated.</strong> {escape(answer.simulated)}</p>")
    for population in answer.populations:
        parts += _population(answer, population)
    parts += ["<h2>What this rests on</h2>", _table(("", ""), facts(answer)), "</body></html>"]
    return "\n".join(parts)


def _population(answer: Answer, population: Population) -> list[str]:
    headings = ("", "visitors", "held out", *(f"{NAMES[figure]}, lift" for figure in FIGURES))
    lifts = (
        (
            _name(line),
            f"{line.treated:,.0f}",
            f"{line.holdout:,.0f}",
            *(lift(line.lifts[figure]) for figure in FIGURES),
        )
        for line in population.lines
    )
    levels = (
        (
            _name(line),
            *(
                " against ".join(level(figure, one, answer.currency) for one in line.levels[figure])
                for figure in FIGURES
            ),
            *spent(line.money, answer.currency),
        )
        for line in population.lines
    )
    return [
        f"<h2>{escape(population.name.capitalize())}</h2>",
        f"<figure>{_forest(population.lines)}</figure>",
        f"<div class=wide>{_table(headings, lifts)}</div>",
        f"<p class=quiet>{escape(ratio(population))}</p>",
        "<div class=wide>"
        + _table(("arm against holdout", *NAMES.values(), "incremental revenue", "cost", "return"), levels)
        + "</div>",
    ]


def _name(line: Line) -> str:
    return "all" if line.kind == "all" else f"{line.kind} {line.name}"


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th scope=col>{escape(one)}</th>" for one in headings)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _forest(lines: Sequence[Line]) -> str:
    """Draw every lift with its interval, a row for each line and figure."""
    rows = [
        (f"{_name(line)} · {NAMES[figure]}", figure, found)
        for line in lines
        for figure in FIGURES
        for found in [_interval(line, figure)]
        if found is not None
    ]
    if not rows:
        return "<p class=quiet>Too little to draw.</p>"
    far = max(0.1, *(min(max(abs(found.low), abs(found.high)), 2.0) for _, _, found in rows))
    left, width, step = 300, 380, 24
    high = 20 + step * len(rows)

    def at(value: float) -> float:
        return left + width * (min(max(value, -far), far) + far) / (2 * far)

    parts = [f'<line class=zero x1="{at(0):.1f}" y1="10" x2="{at(0):.1f}" y2="{high}" />']
    for share in (-1, -0.5, 0, 0.5, 1):
        parts.append(f'<text x="{at(share * far):.1f}" y="{high + 18}" text-anchor=middle>{share * far:+.0%}</text>')
    for i, (name, figure, found) in enumerate(rows):
        y, colour = 22 + step * i, _COLOURS[figure]
        parts.append(f'<text x="{left - 10}" y="{y + 4}" text-anchor=end>{escape(name)}</text>')
        ends = f'x1="{at(found.low):.1f}" x2="{at(found.high):.1f}" y1="{y}" y2="{y}"'
        parts.append(f'<line class=range stroke="{colour}" {ends} />')
        parts.append(f'<circle r=4 fill="{colour}" cx="{at(found.value):.1f}" cy="{y}" />')
    label = 'role=img aria-label="Lift over the holdout, with 95 % intervals"'
    return f'<svg {label} viewBox="0 0 720 {high + 28}" width=720>' + "".join(parts) + "</svg>"


def _interval(line: Line, figure: str) -> Interval | None:
    found = line.lifts[figure]
    if isinstance(found, Unknown) or not (isfinite(found.lift.low) and isfinite(found.lift.high)):
        return None
    return found.lift
