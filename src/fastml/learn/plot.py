"""The roofline as a picture: an SVG that is part of a page, drawn here as it is a few lines and a legend."""

import html
import math
from typing import Any

WIDTH, HEIGHT = 760, 430  # of the picture, in its own pixels
LEFT, RIGHT, TOP, BOTTOM = 60, 150, 14, 44  # margins
LINE = 14  # height of a line of text
Point = tuple[float, float, str]  # flops for a byte, GFLOP/s, name


class Axes:
    """Two logarithmic axes."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float]):
        self.x, self.y = x, y

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where a point is in the picture; what lies outside is put on the edge."""
        right, up = (
            math.log(min(max(value, low), high) / low) / math.log(high / low)
            for value, (low, high) in ((x, self.x), (y, self.y))
        )
        return LEFT + right * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    def drawn(self) -> list[str]:
        """The axes, with powers of 4 across and of 10 upwards."""
        (x0, y0), (x1, y1) = self.at(self.x[0], self.y[0]), self.at(self.x[1], self.y[1])
        middle = (y0 + y1) / 2
        parts = [
            f'<path class="axis" d="M{x0:.1f} {y1:.1f} V{y0:.1f} H{x1:.1f}"/>',
            _label((x0 + x1) / 2, HEIGHT - 6, "flops for a byte", "middle"),
            f'<text transform="translate(14 {middle:.0f}) rotate(-90)" text-anchor="middle">GFLOP/s</text>',
        ]
        for power in range(math.ceil(math.log(self.x[0], 4)), math.floor(math.log(self.x[1], 4)) + 1):
            name = f"{4**power}" if power >= 0 else f"1/{4**-power}"
            parts.append(_label(self.at(4.0**power, 1)[0], y0 + 16, name, "middle"))
        for power in range(math.ceil(math.log10(self.y[0])), math.floor(math.log10(self.y[1])) + 1):
            y = self.at(1, 10.0**power)[1]
            parts.append(f'<path class="grid" d="M{x0:.1f} {y:.1f} H{x1:.1f}"/>')
            parts.append(_label(x0 - 6, y + 4, f"{10.0**power:g}", "end"))
        return parts


def roofline(rates: list[dict[str, Any]], points: list[Point], named: bool = False) -> str:
    """The most that arithmetic and each level of memory allow, with all threads, and where kernels are below it.

    Names of points are shown where the mouse is, or if `named` beside them all: that is for a handful.
    """
    threads = max(row["threads"] for row in rates)
    known = [row for row in rates if row["threads"] == threads]
    peak = max(row["per_second"] for row in known if row["what"] == "flops") / 1e9
    reads = {row["level"]: row["per_second"] / 1e9 for row in known if row.get("kind") == "read"}
    rates_shown = [y for _, y, _ in points]
    most_x = max([256.0, *(x for x, _, _ in points)])
    axes = Axes((2**-4, 2 * most_x), (min([0.5, *rates_shown]), 2 * max([peak, *rates_shown])))
    parts = axes.drawn()
    for level, bandwidth in reads.items():
        ridge = max(peak / bandwidth, axes.x[0])
        corners = (axes.x[0], min(peak, axes.x[0] * bandwidth)), (ridge, peak), (axes.x[1], peak)
        line = " L".join("{:.1f} {:.1f}".format(*axes.at(*corner)) for corner in corners)
        parts.append(f'<path class="roof" d="M{line}"><title>{html.escape(level)}: {bandwidth:.0f} GB/s</title></path>')
        x, y = axes.at(*corners[0])
        parts.append(_label(x + 4, y - 5, level))
    x, y = axes.at(axes.x[1], peak)
    parts.append(_label(x + 6, y + 4, f"peak, {peak:.0f} GFLOP/s"))
    if named:
        parts += _names([(*axes.at(intensity, rate), name) for intensity, rate, name in points])
    for intensity, rate, name in points:
        x, y = axes.at(intensity, rate)
        title = f"{html.escape(name)}: {rate:.3g} GFLOP/s"
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4"><title>{title}</title></circle>')
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="Roofline">{"".join(parts)}</svg>'


def _names(dots: list[Point]) -> list[str]:
    """Names to the right of dots, or to the left where there is no room, a line's height apart; and lines to them."""
    parts, lowest = [], float(HEIGHT)
    for x, y, name in sorted(dots, key=lambda dot: -dot[1]):
        lowest = min(y + 4, lowest - LINE)
        beside, end, anchor = (x + 26, x + 22, "start") if x < WIDTH / 2 else (x - 26, x - 22, "end")
        parts += [
            f'<path class="grid" d="M{x:.1f} {y:.1f} L{end:.1f} {lowest - 4:.1f}"/>',
            _label(beside, lowest, name, anchor),
        ]
    return parts


def _label(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(text)}</text>'
