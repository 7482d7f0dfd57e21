"""Lines over time as a small SVG, for what an acceptance test leaves behind."""

from __future__ import annotations

from html import escape
from typing import NamedTuple

WIDTH, HEIGHT, LEFT, BOTTOM = 720, 260, 56, 36
COLOURS = ("#2563eb", "#d97706", "#15803d", "#be123c")


class Series(NamedTuple):
    """points: (seconds, value)."""

    name: str
    points: list[tuple[float, float]]


def svg_lines(title: str, series: list[Series], *, marks: dict[str, float], unit: str) -> str:
    """marks: moments by name, in seconds, drawn as upright lines."""
    end = max((x for one in series for x, _ in one.points), default=1.0) or 1.0
    top = max((y for one in series for _, y in one.points), default=1.0) or 1.0

    def x_of(seconds: float) -> float:
        return LEFT + seconds / end * (WIDTH - LEFT - 12)

    def y_of(value: float) -> float:
        return HEIGHT - BOTTOM - value / top * (HEIGHT - BOTTOM - 44)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/><text x="{LEFT}" y="18" font-size="14">{escape(title)}</text>',
        f'<path d="M{LEFT} {y_of(0):.1f}H{WIDTH - 12}" stroke="#999"/><text x="4" y="{y_of(top) + 4:.1f}">{top:.0f} {escape(unit)}</text>',
        f'<text x="{LEFT}" y="{HEIGHT - 8}">0 s</text><text x="{WIDTH - 12}" y="{HEIGHT - 8}" text-anchor="end">{end:.0f} s</text>',
    ]
    for name, moment in marks.items():
        parts.append(f'<path d="M{x_of(moment):.1f} 28V{y_of(0):.1f}" stroke="#999" stroke-dasharray="4 3"/>')
        parts.append(f'<text x="{x_of(moment) + 4:.1f}" y="38" fill="#555">{escape(name)}</text>')
    for at, one in enumerate(series):
        colour = COLOURS[at % len(COLOURS)]
        line = " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in one.points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        parts.append(f'<text x="{WIDTH - 12}" y="{18 + 14 * at}" text-anchor="end" fill="{colour}">{escape(one.name)}</text>')
    return "".join(parts) + "</svg>\n"
