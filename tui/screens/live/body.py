"""The panes of the live screen, and how they share the terminal."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.geometry import Size

from spectui.store.rows import GenerationRow
from spectui.tui.charts import all_charts, chart_after, chart_named
from spectui.tui.charts.base import Chart
from spectui.tui.memory import REJECTED, SHOWN_CHART
from spectui.tui.model.replicas import ReplicaState, replica_states
from spectui.tui.model.state import Charts, RunState, Stream, Tree
from spectui.tui.screens.base import Dashboard
from spectui.tui.screens.live.titles import (
    choice_title,
    prompt_columns,
    prompt_words,
    text_title,
    tree_title,
    word_for,
)
from spectui.tui.terminal.cells import count
from spectui.tui.terminal.textsafe import sanitize
from spectui.tui.widgets.histogram import Histogram
from spectui.tui.widgets.prose import PromptHead
from spectui.tui.widgets.replica_panel import pane_title, replica_columns
from spectui.tui.widgets.rows import TITLE_FRAME, set_title
from spectui.tui.widgets.table import Table
from spectui.tui.widgets.token_stream import Legend, TokenStream
from spectui.tui.widgets.tree_view import NOTE, TreeView

WIDE, NARROW, LOW, TINY = 170, 100, 28, 14
"""Columns from which three columns fit; columns and rows below which one pane is shown at a time; rows
below which the prompt gives way to the text."""

CHART_PANES = ("lengths", "depths")
"""The second is there on a wide terminal alone, and shows the chart after the first's."""

VIEWS = {1: "#stream", 2: "#tree-view", 3: "#lengths-view", 4: "#prompts-view", 5: "#replicas-view"}
"""Pane -> the widget that has the focus when it is chosen."""
REPLICAS = 5
"""The pane that is only ever shown alone."""

MEANT = "τ tokens per round  α match rate"
LOADING = "Loading the session…"
WAITING = "This prompt waits for its turn."
CUTS = {
    "length": "the limit of new tokens",
    "context": "the end of the model's context",
    "stopped": "the end of the run",
}


class LiveBody(Horizontal):
    """Text, tree, charts and prompts: all in sight, or one at a time; and the replicas of a run, alone."""

    app: Dashboard

    def __init__(self, session_id: int, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._session_id = session_id
        self.stream = TokenStream(id="stream")
        self.legend = Legend(id="legend")
        self.prompt = PromptHead(id="prompt")
        self.tree_view = TreeView(id="tree-view")
        self.table = Table[GenerationRow](prompt_columns(self.state), lambda g: g.id, id="prompts-view")
        self.replicas = Table[ReplicaState](replica_columns(), lambda r: r.id, id="replicas-view")
        self.pane = 1
        self._state: RunState | None = None
        self._zoomed = False
        self._chart = all_charts()[0]
        self._placeholder = False
        self._tree_rows = 12
        self._tree_height = -1

    def compose(self) -> ComposeResult:
        """Two columns of panes; the style sheet makes three of them, or one."""
        with Vertical(id="left"):
            with Vertical(id="text", classes="pane"):
                yield self.prompt
                yield self.stream
                yield self.legend
            with Vertical(id="tree", classes="pane"):
                yield self.tree_view
        with Vertical(id="right"):
            with Vertical(id="charts"):
                for name in CHART_PANES:
                    with Vertical(id=name, classes="pane"):
                        yield Histogram(self._chart, id=f"{name}-view")
            with Vertical(id="prompts", classes="pane"):
                yield self.table
            with Vertical(id="replicas", classes="pane"):
                yield self.replicas

    def on_mount(self) -> None:
        """Name the panes."""
        memory = self.app.memory
        self._chart = chart_named(memory.get(SHOWN_CHART, str))
        self.stream.set_show_rejected(memory.get(REJECTED, bool, True))
        self._name_charts()
        self.query_one("#prompts").border_title = "prompts"
        self.query_one("#prompts").border_subtitle = MEANT
        self.query_one("#tree").border_title = "tree"
        self.query_one("#tree").border_subtitle = NOTE
        self.stream.clear(LOADING)
        self.stream.focus()
        # The pane chosen in a session is there in its replay and when one comes back to it; another begins with all.
        self.pane, self._zoomed = self.app.panes.get(self._session_id, (1, False))
        if self.pane != 1 or self._zoomed:
            self._arrange()
            self.query_one(VIEWS[self.pane]).focus()

    # What is shown.

    def state(self) -> RunState | None:
        """The session as it was last read."""
        return self._state

    def show_state(self, state: RunState) -> None:
        """Show the prompts and what has become of them."""
        self._state = state
        self.stream.set_growing(state.growing)
        self.table.show(state.generations)
        shown = f"{count(len(state.generations))} of {count(state.summary.prompt_count)}, loading…"
        title = f"{word_for(state.summary)}s"
        self.replicas.show(replica_states(state))
        set_title(self.query_one("#replicas"), pane_title(state))
        set_title(self.query_one("#prompts"), title if state.complete else f"{title} · {shown}")

    def open(self, generation: GenerationRow, *, follow: bool) -> None:
        """Begin to show another prompt."""
        self.stream.set_mark(0)
        self.stream.set_follow(follow)
        self._placeholder = generation.status == "pending"
        self.stream.clear(WAITING if self._placeholder else "")
        self.tree_view.clear()
        text = self._state.prompts.get(generation.id, "") if self._state else ""
        self.prompt.show(prompt_words(generation, text))
        if not self.table.has_focus:
            self.table.select(generation.id)

    def add(self, item: Stream) -> None:
        """Show more of its text."""
        self._no_placeholder()
        self.stream.append(item.pieces, new=item.new)

    def end(self, generation: GenerationRow) -> None:
        """Add a remark when it failed, was skipped or was cut."""
        self._no_placeholder()
        if generation.status == "failed":
            reason = sanitize(generation.error or "no reason was recorded")
            self.stream.append_note(f"✗ This prompt failed: {reason}", "error")
        elif generation.status == "skipped":
            self.stream.append_note("» Skipped.")
        elif generation.finish_reason in CUTS:
            self.stream.append_note(f"■ Cut at {CUTS[generation.finish_reason]}.")

    def show_tree(self, item: Tree, *, held: bool) -> None:
        """Show the tree of a round."""
        why = "" if item.choice is None else choice_title(item.choice, item.budgets)
        self.tree_view.show(item.row, item.texts, tree_title(item.row, item.last, pinned=held), why)
        self._fit_tree()

    def show_charts(self, item: Charts) -> None:
        """Show the figures of all tasks."""
        tasks = tuple(self._state.summary.tasks) if self._state else tuple(item.figures)
        for histogram in self.query(Histogram):
            if not item.whole and histogram.chart.bars is None:
                continue
            histogram.show(item.figures, item.intervals, tasks, item.sources)

    def draw_lines(self, shown: GenerationRow | None, *, follow: bool) -> None:
        """Draw the text pane's title and the legend."""
        live = self._state is not None and self._state.summary.live
        self.legend.show(
            rejected=self.stream.show_rejected, follow=follow, new_below=self.stream.new_below, live=live
        )
        if self._state is not None:
            pane = self.query_one("#text")
            title = text_title(shown, self._state, (pane.outer_size.width or self.size.width) - TITLE_FRAME)
            if pane._border_title != title:  # a title costs its pane's repaint even when it is the same
                pane.border_title = title

    def _no_placeholder(self) -> None:
        if self._placeholder:
            self._placeholder = False
            self.stream.clear()

    # How the panes share the terminal.

    @property
    def single(self) -> bool:
        """True while one pane is shown at a time."""
        return self.has_class("-small") or self._zoomed

    def fit(self, size: Size) -> None:
        """Choose the layout for a terminal of this size."""
        self.set_class(size.width >= WIDE and size.height >= LOW, "-wide")
        self.set_class(size.width < NARROW or size.height < LOW, "-small")
        self.set_class(size.height < TINY, "-tiny")
        self._arrange()

    def choose(self, pane: int) -> None:
        """Go to a pane; where all are in sight, its number shows it alone, then all again."""
        if not self.has_class("-small"):
            self._zoomed = not (self._zoomed and pane == self.pane)
        # Replicas have a pane of their own, and a few rows beside the others.
        self.pane = 1 if pane == REPLICAS and not self.single else pane
        self._arrange()
        self.query_one(VIEWS[self.pane]).focus()
        self.app.panes[self._session_id] = (pane, self._zoomed)

    def show_all_panes(self) -> bool:
        """Show all panes again; False when no pane is shown alone."""
        if self._zoomed:
            self.choose(self.pane)
            return True
        return False

    @property
    def chart(self) -> Chart:
        """The chart that is shown, on a wide terminal the one whose pane has the focus, else the first."""
        second = self.query_one("#depths-view", Histogram)
        return second.chart if second.has_focus else self.query_one("#lengths-view", Histogram).chart

    @property
    def shows_bins(self) -> bool:
        """True while a chart in sight draws bins of nodes."""
        return any(view.chart.needs_probabilities for view in self.query(Histogram))

    def next_chart(self, step: int = 1) -> None:
        """Show the charts after these."""
        self._chart = chart_after(self._chart, step)
        self._name_charts()
        self.app.memory.remember(SHOWN_CHART, self._chart.name)

    def toggle_rejected(self) -> None:
        """Show or hide rejected spans."""
        self.stream.set_show_rejected(not self.stream.show_rejected)
        self.app.memory.remember(REJECTED, self.stream.show_rejected)

    def _name_charts(self) -> None:
        for place, name in enumerate(CHART_PANES):
            chart = chart_after(self._chart, place)
            self.query_one(f"#{name}-view", Histogram).set_chart(chart)
            pane = self.query_one(f"#{name}")
            pane.border_title, pane.border_subtitle = chart.title, chart.note

    def _arrange(self) -> None:
        self.set_class(self.single, "-single")
        for pane in VIEWS:
            self.set_class(pane == self.pane, f"-pane-{pane}")
        self.call_after_refresh(self._fit_tree)

    def _fit_tree(self) -> None:
        """Give the tree the rows that the largest so far has needed: it never shrinks, so nothing jumps."""
        self._tree_rows = max(self._tree_rows, len(self.tree_view.rows) + 2)
        most = self.size.height * 2 // 5
        rows = 0 if self.single else max(min(self._tree_rows, most), 6)
        if rows != self._tree_height:  # assigning a height costs a layout even when it is the same
            self._tree_height = rows
            self.query_one("#tree").styles.height = rows or "1fr"
