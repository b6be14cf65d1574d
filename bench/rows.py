"""What benchmarks give: rows of one table, and bars of one plot for each group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

BAR, GAP, LABEL, WIDTH, TOP = 16, 6, 190, 640, 34


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement.

    Attributes:
        group: what it belongs to; the rows of a group are plotted together.
        name: what was measured.
        value: the number; None where it could not be measured.
        unit: of the value; ``x`` for ratios.
        goal: the most (or, with ``at_least``, the least) that it should be; None for no goal.
        at_least: whether more is better.
        note: what goes with it, such as what it was compared with, or why it was not measured.
    """

    group: str
    name: str
    value: float | None
    unit: str = ""
    goal: float | None = None
    at_least: bool = False
    note: str = ""

    @property
    def is_met(self) -> bool | None:
        """Whether the goal is met; None without one."""
        if self.goal is None or self.value is None:
            return None
        return self.value >= self.goal if self.at_least else self.value <= self.goal

    @property
    def shown(self) -> str:
        """The value as people read it."""
        return "not measured" if self.value is None else f"{number(self.value)} {self.unit}".strip()

    @property
    def goal_shown(self) -> str:
        return "" if self.goal is None else f"{'>=' if self.at_least else '<='} {number(self.goal)}"

    @property
    def verdict(self) -> str:
        said = {None: "", True: "met", False: "NOT met"}[self.is_met]
        return "; ".join(each for each in (said, self.note) if each)


def number(value: float) -> str:
    """Three digits that matter."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def plot(title: str, rows: Sequence[Row]) -> str:
    """The rows as horizontal bars in an SVG, with a line at the goal that they share."""
    known = [row for row in rows if row.value is not None]
    goals = {row.goal for row in known}
    goal = goals.pop() if len(goals) == 1 else None
    most = max([row.value or 0 for row in known] + [goal or 0]) or 1.0
    height = TOP + len(known) * (BAR + GAP) + GAP
    scale = (WIDTH - LABEL - 90) / most
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="8" y="20" font-size="14" font-weight="bold">{escape(title)}</text>',
    ]
    for place, row in enumerate(known):
        y = TOP + place * (BAR + GAP)
        colour = {None: "#6b7f99", True: "#3b8f5a", False: "#c25b4e"}[row.is_met]
        length = max((row.value or 0) * scale, 1)
        parts += [
            f'<text x="{LABEL - 8}" y="{y + 12}" text-anchor="end">{escape(row.name)}</text>',
            f'<rect x="{LABEL}" y="{y}" width="{length:.1f}" height="{BAR}" fill="{colour}"/>',
            f'<text x="{LABEL + length + 6:.1f}" y="{y + 12}">{escape(row.shown)}</text>',
        ]
    if goal:
        x = LABEL + goal * scale
        parts.append(f'<path d="M{x:.1f} {TOP - 4}V{height - 4}" stroke="#333" stroke-dasharray="4 3"/>')
    return "\n".join([*parts, "</svg>\n"])
