"""The figures of a server with the counters they come from, and how clients and servers make more known."""

from __future__ import annotations

from spectui.servers.watch.server import View
from spectui.servers.watch.sources import FIGURES, Figure
from spectui.tui.terminal.cells import NOTHING, fit, fitting
from spectui.tui.widgets.rows import Row

FLAGS: dict[str, tuple[str, ...]] = {
    "vllm": (
        "acceptance per request: start vLLM with --per-request-spec-decode-metrics detailed",
        "no counters at all: it was started with --disable-log-stats",
        "by task: spectui run --server URL sends our prompts, one task after the other",
    ),
    "llama.cpp": (
        "counters: start llama-server with --metrics; they move when a request ends",
        "live speed: /slots, which is on unless --no-slots",
        "by task: spectui run --server URL sends our prompts, one task after the other",
    ),
    "sglang": (
        "counters: start SGLang with --enable-metrics",
        "by task: start it with --tokenizer-metrics-allowed-custom-labels task; clients send the header"
        ' x-custom-labels: {"task": "code"}',
    ),
}
"""Engine -> what else it can tell, and how."""


def shown(figure: Figure, view: View) -> str:
    """A figure with its unit."""
    value = figure.value(view)
    if value is None:
        return NOTHING
    if figure.unit == "share":
        return f"{value * 100:.1f} %"
    unit = {"times": "×", "tokens/s": "tok/s"}.get(figure.unit, figure.unit)
    return f"{value:,.2f} {unit}"


def figure_rows(view: View, width: int) -> list[Row]:
    """A row for each figure: name, value, counters."""
    engine = view.sample.engine if view.sample else ""
    rows: list[Row] = []
    for name, figure in FIGURES.items():
        source = figure.sources.get(engine, "this engine does not tell")
        head = f"{fit(name, 20)}{shown(figure, view):>16}"
        rows.append(((head, "text"), (f"  {fitting([source], max(width - 38, 8))}", "muted")))
    return [*rows, (), *(((fitting([line], width), "muted"),) for line in FLAGS.get(engine, ()))]


def figure_lines(view: View) -> list[str]:
    """The same as text."""
    engine = view.sample.engine if view.sample else ""
    lines = [f"{view.url} {view.engine} {view.model}".strip()]
    lines += [
        f"{name}\t{shown(figure, view)}\t{figure.sources.get(engine, '')}".rstrip()
        for name, figure in FIGURES.items()
    ]
    return [*lines, *FLAGS.get(engine, ())]
