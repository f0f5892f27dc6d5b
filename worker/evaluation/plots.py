"""Plots as inline SVG: no script, no other file; colours come from the page."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT = 360, 300
_LEFT, _TOP, _RIGHT, _BOTTOM = 46, 12, 22, 42
_TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)

XY = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Line:
    """A curve in the unit square. `kind` is its CSS class: `main`, `other` or `chance`."""

    points: Sequence[XY]
    kind: str = "main"
    stepped: bool = False


def unit_square(title: str, x: str, y: str, lines: Sequence[Line]) -> str:
    """A plot of lines between 0 and 1 on both axes."""
    parts = [
        f'<svg class="plot" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">',
        f"<title>{escape(title)}</title>",
        *(_grid(tick) for tick in _TICKS),
        f'<text class="axis" x="{_x(0.5):.0f}" y="{_HEIGHT - 6}" text-anchor="middle">{escape(x)}</text>',
        f'<text class="axis" transform="translate(12 {_y(0.5):.0f}) rotate(-90)" text-anchor="middle">'
        f"{escape(y)}</text>",
        *(f'<path class="line {line.kind}" d="{_path(line)}"/>' for line in lines),
        "</svg>",
    ]
    return "".join(parts)


def interval_bar(value: float, low: float, high: float, *, bad: bool = False) -> str:
    """A value between 0 and 1 as a bar, its interval as a whisker."""
    kind = "bar bad" if bad else "bar"
    return (
        f'<svg class="interval" viewBox="0 0 100 12" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="track" x="0" y="3" width="100" height="6"/>'
        f'<rect class="{kind}" x="0" y="3" width="{value * 100:.1f}" height="6"/>'
        f'<path class="whisker" d="M{low * 100:.1f} 1V11M{low * 100:.1f} 6H{high * 100:.1f}M{high * 100:.1f} 1V11"/>'
        "</svg>"
    )


def difference_bar(value: float, low: float, high: float, *, worse: bool) -> str:
    """A difference between -1 and 1, drawn from the middle, its interval as a whisker; 0.5 fills a half."""
    at, begin, end = (50 + max(-50.0, min(50.0, each * 100)) for each in (value, low, high))
    kind = "bar bad" if worse else "bar"
    return (
        '<svg class="interval" viewBox="0 0 100 12" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="track" x="0" y="3" width="100" height="6"/>'
        f'<rect class="{kind}" x="{min(50, at):.1f}" y="3" width="{abs(at - 50):.1f}" height="6"/>'
        '<path class="zero" d="M50 0V12"/>'
        f'<path class="whisker" d="M{begin:.1f} 1V11M{begin:.1f} 6H{end:.1f}M{end:.1f} 1V11"/>'
        "</svg>"
    )


def _grid(tick: float) -> str:
    x, y, label = _x(tick), _y(tick), f"{tick * 100:.0f}%"
    return (
        f'<path class="grid" d="M{x:.1f} {_y(0):.1f}V{_y(1):.1f}M{_x(0):.1f} {y:.1f}H{_x(1):.1f}"/>'
        f'<text class="tick" x="{x:.1f}" y="{_y(0) + 14:.1f}" text-anchor="middle">{label}</text>'
        f'<text class="tick" x="{_LEFT - 5}" y="{y + 3.5:.1f}" text-anchor="end">{label}</text>'
    )


def _path(line: Line) -> str:
    (x0, y0), *rest = line.points
    steps = [f"M{_x(x0):.1f} {_y(y0):.1f}"]
    for x, y in rest:
        steps.append(f"V{_y(y):.1f}H{_x(x):.1f}" if line.stepped else f"L{_x(x):.1f} {_y(y):.1f}")
    return "".join(steps)


def _x(value: float) -> float:
    return _LEFT + value * (_WIDTH - _LEFT - _RIGHT)


def _y(value: float) -> float:
    return _HEIGHT - _BOTTOM - value * (_HEIGHT - _TOP - _BOTTOM)
