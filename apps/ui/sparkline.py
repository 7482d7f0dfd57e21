"""Sparklines as SVG paths: no script, no style, no axis; they say where a number came from, not what it was."""

from __future__ import annotations

from collections.abc import Sequence

WIDTH, HEIGHT = 120, 28


def spark_path(values: Sequence[float | None]) -> str:
    """The ``d`` of a line over the values, zero at the bottom; gaps where a value is None. Empty for fewer than two."""
    if len(values) < 2:
        return ""
    top = max((value for value in values if value is not None), default=0) or 1
    step, parts, pen = WIDTH / (len(values) - 1), [], "M"
    for at, value in enumerate(values):
        if value is None:
            pen = "M"
            continue
        parts.append(f"{pen}{at * step:.1f} {HEIGHT - 1 - (HEIGHT - 3) * max(value, 0) / top:.1f}")
        pen = "L"
    return "".join(parts)
