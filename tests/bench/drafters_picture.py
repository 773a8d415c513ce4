"""The README's picture of drafters side by side, from the figures of a comparison.

    spectui bench --drafters all --json > figures.json
    python -m tests.bench.drafters_picture figures.json [--out docs/drafters.svg]

Bars are speed over our own plain loop, for all prompts and for each task; the lines on them go from the
first to the third quartile over prompts.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from spectui.decoding.bench.drafters_table import ASSISTED, GREEDY, PLAIN, PROMPT_LOOKUP, target_name

RATIO = "ratio_vs_own_plain"

BACKGROUND, TEXT, FAINT, LINE = "#292929", "#e6e6e3", "#a3a5a1", "#565656"
COLOURS = ("#6fb0c6", "#b48bbd", "#d0b344", "#a5b857", "#d68c5e", "#7ea6d8")
"""One per drafter, in their order; its trees share it."""
THEIRS = "#8b8d89"
"""transformers' own ways."""

MARGIN, HEADER, ROW, FOOTER = 24, 104, 42, 40
NAMES, TAU = 204, 62
PANEL, GAP, VALUE = 134, 16, 40
"""Width of a panel, between two, and of the number at a panel's right end."""
BAR = 18
DETAIL_LETTERS = 30


@dataclass(frozen=True)
class Row:
    """An arm with what is written at its left."""

    name: str
    detail: str
    full: str
    colour: str
    figures: dict[str, Any]


def rows(figures: dict[str, Any]) -> list[Row]:
    """Drafters in their order, then transformers' arms. The plain loop is the line at 1."""
    found = []
    colours: dict[str, str] = {}
    for arm in figures["drafters"].values():
        colour = colours.setdefault(arm["draft"], COLOURS[len(colours) % len(COLOURS)])
        name = Path(arm["draft"]).name
        detail = f"default: {arm['tree']}" if arm["tree_chosen"] else arm["tree"]
        if len(detail) > DETAIL_LETTERS:
            detail = f"{detail[: DETAIL_LETTERS - 1]}…"
        found.append(Row(name, detail, f"{name} {arm['tree']}", colour, arm))
    how = {GREEDY: "generate", PROMPT_LOOKUP: "prompt lookup"}
    for name, arm in figures["baselines"].items():
        if name != PLAIN:
            detail = how.get(name) or f"assisted by {Path(name.removeprefix(ASSISTED)).name}"
            found.append(Row("transformers", detail, f"transformers {detail}", THEIRS, arm))
    return found


def picture(figures: dict[str, Any]) -> str:
    """An SVG of the figures that ``spectui bench --drafters ... --json`` prints."""
    shown = rows(figures)
    panels = [("all", [row.figures for row in shown])]
    panels += [(task, [row.figures["tasks"][task] for row in shown]) for task in figures["tasks"]]
    top = max(of["spread"][RATIO][1] for _, column in panels for of in column)
    scale = (PANEL - VALUE) / max(1.0, math.ceil(4 * top) / 4)
    left = MARGIN + NAMES + TAU
    width = left + len(panels) * PANEL + (len(panels) - 1) * GAP + MARGIN
    bottom = HEADER + ROW * len(shown)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {bottom + FOOTER}" role="img" '
        'font-family="ui-sans-serif, system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif">',
        "<title>Tokens per second of every drafter over the plain loop, by task</title>",
        f'<rect width="{width}" height="{bottom + FOOTER}" rx="8" fill="{BACKGROUND}"/>',
        _text(MARGIN, 36, "Tokens per second, × our own plain loop", size=19, weight="bold"),
        _text(MARGIN, 58, _setting(figures), size=13, colour=FAINT),
        _text(left - 18, HEADER - 12, "tok/round", size=13, colour=FAINT, anchor="end"),
    ]
    for number, (title, column) in enumerate(panels):
        parts += _panel(title, column, shown, left + number * (PANEL + GAP), scale)
    for number, row in enumerate(shown):
        y = HEADER + ROW * number + ROW / 2
        tau = row.figures["tokens_per_round"]
        parts += [
            f"<g><title>{escape(row.full)}</title>",
            _text(MARGIN, y - 2, row.name, size=15, weight="bold", colour=row.colour),
            _text(MARGIN, y + 14, row.detail, size=12.5, colour=FAINT),
            _text(left - 18, y + 5, "" if tau is None else f"{tau:.2f}", size=14, anchor="end"),
            "</g>",
        ]
    said = "Medians of ratios within a prompt; lines on the bars: quartiles over prompts; dashed: the plain loop."
    parts += [_text(MARGIN, bottom + 22, said, size=13, colour=FAINT), "</svg>"]
    return "\n".join(parts) + "\n"


def _panel(title: str, column: list[dict[str, Any]], shown: list[Row], x: float, scale: float) -> list[str]:
    """The bars of all prompts or of one task, `x` being where they begin."""
    bottom = HEADER + ROW * len(shown)
    one = x + scale
    best = max(of[RATIO] for of in column)
    parts = [_text(x, HEADER - 12, title, size=14, weight="bold")]
    for number, (row, of) in enumerate(zip(shown, column, strict=True)):
        y = HEADER + ROW * number + ROW / 2
        low, high = (x + scale * ratio for ratio in of["spread"][RATIO])
        strong = of[RATIO] == best
        parts += [
            f'<rect x="{x:.1f}" y="{y - BAR / 2}" width="{scale * of[RATIO]:.1f}" height="{BAR}" rx="2" '
            f'fill="{row.colour}" fill-opacity="{1.0 if strong else 0.72}"/>',
            f'<path d="M{low:.1f} {y}H{high:.1f}M{low:.1f} {y - 4}v8M{high:.1f} {y - 4}v8" '
            f'stroke="{TEXT}" stroke-width="1.5" fill="none"/>',
            _text(
                x + PANEL, y + 5, f"{of[RATIO]:.2f}", size=14, anchor="end",
                weight="bold" if strong else "normal", colour=TEXT if strong else FAINT,
            ),
        ]  # fmt: skip
    parts += [
        f'<path d="M{x} {HEADER}V{bottom}" stroke="{LINE}"/>',
        f'<path d="M{one:.1f} {HEADER}V{bottom}" stroke="{TEXT}" stroke-dasharray="3 4" stroke-opacity="0.75"/>',
    ]
    return parts


def _setting(figures: dict[str, Any]) -> str:
    environment = figures["environment"]
    on = environment["gpus"][0] if figures["device"].startswith("cuda") else environment["cpu"]
    threads = "" if "threads" not in on else f", {on['threads']} threads"
    return (
        f"{target_name(figures['target'])}, greedy, {figures['prompts']} prompts of up to "
        f"{figures['max_new_tokens']} new tokens; {figures['dtype']} on {on['name']}{threads}"
    )


def _text(
    x: float,
    y: float,
    words: str,
    *,
    size: float,
    colour: str = TEXT,
    weight: str = "normal",
    anchor: str = "start",
) -> str:
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size:g}" fill="{colour}" font-weight="{weight}" '
        f'text-anchor="{anchor}">{escape(words)}</text>'
    )


def main() -> None:
    """Read the figures, write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("figures", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/drafters.svg"))
    arguments = parser.parse_args()
    figures = json.loads(arguments.figures.read_text(encoding="utf-8"))
    arguments.out.write_text(picture(figures), encoding="utf-8")


if __name__ == "__main__":
    main()
