"""Drawings of the report, as SVG written by hand: what leaves, how a small crowd is hidden, how long things live.

Each says in words what it shows. Texts are escaped; colours are those of the page.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from math import log

from entrenous_consent.dpo.figures import chance_to_show, threshold
from entrenous_consent.dpo.page import COLOURS, plain
from entrenous_consent.dpo.parts import Parts
from entrenous_consent.dpo.rendering import Picture
from entrenous_consent.policy import Report

__all__ = ["draw_flow", "draw_kept", "draw_threshold"]

_WIDE = 720
_FONT = 'font-family="system-ui, Segoe UI, Noto Sans, DejaVu Sans, sans-serif"'
_TICKS = ((1, "day"), (7, "week"), (30, "month"), (366, "year"), (1830, "years"))
_LONGEST_NAME = 46


def _text(x: float, y: float, words: str, *, anchor: str = "start", size: int = 13, look: str = "ink") -> str:
    bold = ' font-weight="600"' if look == "bold" else ""
    colour = COLOURS["ink" if look == "bold" else look]
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{colour}"{bold} '
        f'stroke="{COLOURS["paper"]}" stroke-width="3" paint-order="stroke">'
        f"{escape(plain(words))}</text>"
    )


def _line(x1: float, y1: float, x2: float, y2: float, look: str, *, dashed: bool = False, width: float = 1) -> str:
    dash = ' stroke-dasharray="5 4"' if dashed else ""
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{COLOURS[look]}" '
        f'stroke-width="{width}"{dash}/>'
    )


def _svg(height: float, parts: Iterable[str]) -> str:
    inside = "".join(parts)
    return f'<svg viewBox="0 0 {_WIDE} {height:.0f}" aria-hidden="true" focusable="false" {_FONT}>{inside}</svg>'


def draw_threshold(parts: Parts, report: Report) -> Picture:
    """Return the chance that a cell shows by how many visitors are in it, with the crowd and the threshold marked."""
    words, limit = parts.words, threshold(report)
    last, left, top, high = max(2 * limit - report.cohort, limit + 4), 64, 44, 190
    across = _WIDE - left - 24

    def at(visitors: float, chance: float) -> tuple[float, float]:
        return left + across * visitors / last, top + high * (1 - chance)

    step = max(1, last // 240)
    counts = sorted({*range(0, last + 1, step), report.cohort, limit, last})
    curve = " ".join("{:.1f},{:.1f}".format(*at(count, chance_to_show(report, count))) for count in counts)
    drawn = [
        f'<rect x="{left}" y="{top}" width="{at(report.cohort, 0)[0] - left:.1f}" height="{high}" '
        f'fill="{COLOURS["ground"]}"/>'
    ]
    for share in (0.0, 0.5, 1.0):
        y = at(0, share)[1]
        drawn += [_line(left, y, left + across, y, "line"), _text(left - 8, y + 4, f"{share:.0%}", anchor="end")]
    marks = (
        (report.cohort, "crowd", words("picture.crowd", cohort=report.cohort), 14),
        (limit, "from", words("picture.from", threshold=limit), 32),
    )
    for count, _, said, y in marks:
        x = at(count, 0)[0]
        drawn += [_line(x, y + 6, x, top + high, "accent", dashed=True), _text(x + 6, y + 4, said, look="accent")]
    for count in (0, report.cohort, limit, last):
        drawn.append(_text(at(count, 0)[0], top + high + 18, str(count), anchor="middle", look="soft"))
    drawn.append(f'<polyline points="{curve}" fill="none" stroke="{COLOURS["info"]}" stroke-width="2.5"/>')
    drawn.append(_text(left + across / 2, top + high + 38, words("picture.visitors"), anchor="middle", look="soft"))
    drawn.append(_text(8, 18, words("picture.chance"), look="soft"))
    values = {"cohort": report.cohort, "delta": parts.odds(report.delta), "threshold": limit, "report": report.name}
    return Picture(svg=_svg(top + high + 48, drawn), words=words("picture.threshold", **values))


def draw_kept(parts: Parts) -> Picture:
    """Return how long each thing is kept, as bars over a scale where each step is a longer time."""
    words, durations = parts.words, parts.durations()
    longest = max(days for _, days in durations)
    left, row, top = 330, 26, 34
    across, height = _WIDE - left - 84, row * len(durations)

    def at(days: float) -> float:
        return left + across * log(1 + days) / log(1 + longest)

    drawn = []
    for days, key in _TICKS:
        if days <= longest:
            drawn.append(_line(at(days), top - 8, at(days), top + height, "line"))
            drawn.append(_text(at(days), top - 14, words(f"picture.{key}"), anchor="middle", size=11, look="soft"))
    drawn.append(_line(left, top - 8, left, top + height, "soft"))
    for i, (name, days) in enumerate(durations):
        y = top + row * i
        short = name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"
        drawn.append(_text(left - 10, y + 16, short, anchor="end", size=12))
        look = COLOURS["accent" if days else "line"]
        drawn.append(f'<rect x="{left}" y="{y + 5}" width="{max(at(days) - left, 2):.1f}" height="15" fill="{look}"/>')
        drawn.append(_text(at(days) + 8, y + 17, parts.retention(days), size=12, look="soft"))
    told = words("picture.kept", longest=words.days(longest))
    return Picture(svg=_svg(top + height + 8, drawn), words=told)


def draw_flow(parts: Parts) -> Picture:
    """Return what stays with the controller and what leaves."""
    words, policy = parts.words, parts.policy
    boxes = (
        (8, 62, 172, ("flow_visitor", ""), ("flow_visitor_sub", ""), "soft"),
        (228, 62, 260, ("flow_host", ""), ("flow_host_sub", ""), "accent"),
        (540, 12, 172, ("flow_reports", len(policy.reports)), ("flow_reports_sub", ""), "info"),
        (540, 112, 172, ("flow_messages", len(policy.messages)), ("flow_messages_sub", ""), "info"),
    )
    drawn = []
    for x, y, width, (title, count), (below, _), look in boxes:
        drawn.append(
            f'<rect x="{x}" y="{y}" width="{width}" height="72" rx="6" fill="{COLOURS["paper"]}" '
            f'stroke="{COLOURS[look]}" stroke-width="2"/>'
        )
        drawn.append(_text(x + width / 2, y + 30, words(f"picture.{title}", n=count), anchor="middle", look="bold"))
        drawn.append(_text(x + width / 2, y + 51, words(f"picture.{below}"), anchor="middle", size=11, look="soft"))
    drawn += _arrow(180, 98, 228, 98)
    drawn += _arrow(488, 84, 540, 50, dashed=not policy.reports)
    drawn += _arrow(488, 112, 540, 146, dashed=not policy.messages)
    drawn.append(_text(358, 158, words("picture.flow_score"), anchor="middle", look="accent"))
    return Picture(svg=_svg(196, drawn), words=words("picture.flow"))


def _arrow(x1: float, y1: float, x2: float, y2: float, *, dashed: bool = False) -> list[str]:
    lean = (y2 - y1) / (x2 - x1)
    head = f"{x2},{y2} {x2 - 10},{y2 - 10 * lean - 5} {x2 - 10},{y2 - 10 * lean + 5}"
    colour = COLOURS["soft"]
    return [
        _line(x1 + 2, y1 + 2 * lean, x2 - 10, y2 - 10 * lean, "soft", dashed=dashed, width=2),
        f'<polygon points="{head}" fill="{colour}"/>',
    ]
