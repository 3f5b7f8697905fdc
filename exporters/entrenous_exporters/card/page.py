"""The card as one offline page, English and French, charts as inline SVG, no script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from entrenous_exporters.card.sections import LANGUAGES, Section, purposes, sections, title

__all__ = ["render_page"]

_COLOURS = ("#0b6e4f", "#c46210", "#3a5a9b", "#6b4e9b", "#b23a48", "#2f7f8f", "#8a6d1d", "#4a4a4a")
_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1d2430; background: #fbfaf7; margin: 0 auto; max-width: 60rem;
  padding: 1.5rem 1.25rem 4rem; }
h1 { font-size: 1.45rem; line-height: 1.3; margin: 1rem 0 .5rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .3rem; }
p { margin: .4rem 0; } .wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem; }
th, td { text-align: right; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid #ddd8cc; }
th:first-child, td:first-child { text-align: left; } th { font-weight: 600; vertical-align: bottom; }
svg { max-width: 100%; height: auto; } figure { margin: 1rem 0; }
text { font: 12px system-ui, sans-serif; fill: #1d2430; }
.line { fill: none; stroke-width: 2; } .axis { stroke: #b9b3a4; stroke-width: 1; } .ideal { stroke-dasharray: 4 4; }
input { position: absolute; opacity: 0; } label { cursor: pointer; padding: .2rem .7rem; border: 1px solid #b9b3a4; }
#fr:checked ~ main[lang=en], #en:checked ~ main[lang=fr] { display: none; }
#en:checked ~ nav label[for=en], #fr:checked ~ nav label[for=fr] { background: #1d2430; color: #fbfaf7; }
input:focus-visible ~ nav { outline: 2px solid #3a5a9b; }
"""


def render_page(facts: Mapping[str, Any]) -> str:
    """Return the card as HTML; the same facts give the same page.

    Args:
        facts: from `entrenous_exporters.card.read_card`.
    """
    name = escape(f"{facts['name']} {facts['version']}")
    return "\n".join(
        [
            "<!doctype html><html lang=en><head><meta charset=utf-8>",
            '<meta name=viewport content="width=device-width, initial-scale=1">',
            f"<title>{name}</title><style>{_STYLE}</style></head><body>",
            '<input type=radio name=language id=en checked aria-label="English">',
            '<input type=radio name=language id=fr aria-label="français">',
            "<nav><label for=en>English</label><label for=fr>français</label></nav>",
            *(_body(facts, language) for language in LANGUAGES),
            "</body></html>",
        ]
    )


def _body(facts: Mapping[str, Any], language: str) -> str:
    parts = [f"<main lang={language}><h1>{escape(title(facts, language))}</h1>"]
    for section in sections(facts, language):
        parts.append(f"<h2>{escape(section.heading)}</h2>")
        parts += [f"<p>{escape(sentence)}</p>" for sentence in section.sentences]
        if section.rows:
            parts.append(f"<div class=wide>{_table(section)}</div>")
        if section.key == "price":
            parts.append(f"<figure>{_calibration(facts, language)}</figure>")
        if section.key == "tranches":
            parts.append(f"<figure>{_shares(facts, section)}</figure>")
    return "\n".join([*parts, "</main>"])


def _table(section: Section) -> str:
    head = "".join(f"<th scope=col>{escape(one)}</th>" for one in section.headings)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in section.rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _calibration(facts: Mapping[str, Any], language: str) -> str:
    """Draw predicted against observed shares, a line for each pattern."""
    x_name, y_name = ("part prédite", "part observée") if language == "fr" else ("predicted share", "observed share")
    curves = [(purposes(one), one["quality"]["curve"]) for one in facts["patterns"]]
    top = max([0.1, *(value for _, curve in curves for point in curve for value in point)])
    side, left, foot = 300, 50, 40

    def at(point: Sequence[float]) -> str:
        return f"{left + side * point[0] / top:.1f},{side - side * point[1] / top + 10:.1f}"

    parts = [f'<line class="axis ideal" {_ends(at((0, 0)), at((top, top)))} />']
    parts += [f"<line class=axis {_ends(at(a), at(b))} />" for a, b in (((0, 0), (top, 0)), ((0, 0), (0, top)))]
    parts += [
        f'<text x="{left + side * share:.0f}" y="{side + 26}" text-anchor=middle>{top * share:.2f}</text>'
        f'<text x="{left - 6}" y="{side - side * share + 14:.0f}" text-anchor=end>{top * share:.2f}</text>'
        for share in (0, 0.5, 1)
    ]
    for i, (name, curve) in enumerate(curves):
        colour = _COLOURS[i % len(_COLOURS)]
        parts.append(f'<polyline class=line stroke="{colour}" points="{" ".join(at(point) for point in curve)}" />')
        parts += [f'<circle r=3 fill="{colour}" {_centre(at(point))} />' for point in curve]
        y = 24 + 20 * i
        parts.append(f'<rect x="{left + side + 24}" y="{y - 9}" width=12 height=12 fill="{colour}" />')
        parts.append(f'<text x="{left + side + 42}" y="{y + 2}">{escape(name)}</text>')
    parts.append(f'<text x="{left + side / 2:.0f}" y="{side + foot + 4}" text-anchor=middle>{x_name}</text>')
    return _svg(720, side + foot + 14, f"{x_name} / {y_name}", parts)


def _shares(facts: Mapping[str, Any], section: Section) -> str:
    """Draw the tranches' shares: one bar as wanted, one for each pattern."""
    tranches = facts["tranches"]
    bars = [tranches["target"], *(one["quality"]["shares"] for one in facts["patterns"])]
    parts = []
    for i, (shares, row) in enumerate(zip(bars, section.rows, strict=True)):
        x, y = 220.0, 10 + 30 * i
        parts.append(f'<text x="212" y="{y + 15}" text-anchor=end>{escape(row[0])}</text>')
        for j, (share, name) in enumerate(zip(shares, tranches["names"], strict=True)):
            colour = _COLOURS[j % len(_COLOURS)]
            opacity = 1 - 0.06 * (j // len(_COLOURS))
            parts.append(
                f'<rect x="{x:.1f}" y="{y}" width="{470 * share:.1f}" height=20 fill="{colour}" opacity="{opacity}">'
                f"<title>{escape(name)} {share:.1%}</title></rect>"
            )
            x += 470 * share
    return _svg(720, 20 + 30 * len(bars), section.heading, parts)


def _ends(a: str, b: str) -> str:
    (x1, y1), (x2, y2) = a.split(","), b.split(",")
    return f'x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"'


def _centre(point: str) -> str:
    x, y = point.split(",")
    return f'cx="{x}" cy="{y}"'


def _svg(width: int, height: int, description: str, parts: Sequence[str]) -> str:
    opening = f'<svg role=img aria-label="{escape(description)}" viewBox="0 0 {width} {height}" width={width}>'
    return opening + "".join(parts) + "</svg>"
