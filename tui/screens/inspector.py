"""Shows one round: every node of its tree, its fate and the reason."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from textual import events, on
from textual.app import ComposeResult
from textual.containers import Vertical

from spectui.store.reading.search import Hit
from spectui.store.rows import SessionSummary
from spectui.tui.feeds.inspector import Inspected, InspectorFeed, NoneRejected
from spectui.tui.model.inspection import Item, items_of, missing, why
from spectui.tui.model.timeline import Place
from spectui.tui.navigation.keymap import bindings
from spectui.tui.screens.base import FedScreen
from spectui.tui.screens.dialogs.search import LastSearch, SearchScreen
from spectui.tui.terminal.cells import NOTHING, count, fitting, number, share
from spectui.tui.terminal.textsafe import sanitize, sanitize_line
from spectui.tui.widgets.head import head_row
from spectui.tui.widgets.key_bar import KeyBar
from spectui.tui.widgets.prose import Words
from spectui.tui.widgets.rows import TITLE_FRAME, Cell, Line, set_title
from spectui.tui.widgets.table import Column, Table

NOTE = "q draft  p target  H entropy, nats  overlap min(1, p/q)"
FATES = {
    "accepted": "accepted-path",
    "rejected": "bad",
    "not reached": "muted",
    "cut off": "muted",
    "target's own": "target",
}
SHORT, TINY = 30, 14
"""Rows of the terminal below which the text before the round gets one line, and below which it gives way."""


def node_columns() -> list[Column[Item]]:
    """The tree in the first column, then what is known of each node."""

    def figure(text: str, item: Item) -> Cell:
        return (text if item.node else "", "text" if item.fate in ("accepted", "rejected") else "muted")

    def tree(item: Item) -> Cell:
        return item.lead + item.text, FATES[item.fate] if item.fate != "rejected" else "text"

    def match(item: Item) -> Cell:
        return ("✓" if item.node and item.node.match else "", "good")

    return [
        Column("token", tree, 16, grows=True),
        Column("rank", lambda i: figure(str(i.node.rank) if i.node else "", i), 4, "right", keep=9),
        Column("q", lambda i: figure(share(i.node.draft_p) if i.node else "", i), 3, "right"),
        Column("p", lambda i: figure(share(i.node.target_p) if i.node else "", i), 3, "right"),
        Column("overlap", lambda i: figure(share(i.overlap) if i.node else "", i), 7, "right", keep=6),
        Column("Hq", lambda i: figure(number(i.node.draft_entropy) if i.node else "", i), 4, "right", keep=7),
        Column(
            "Hp", lambda i: figure(number(i.node.target_entropy) if i.node else "", i), 4, "right", keep=8
        ),
        Column("match", match, 5, "right", keep=5),
        Column("", lambda i: (i.fate, FATES[i.fate]), 12),
    ]


class InspectorScreen(FedScreen):
    """The nodes of one round; n goes from one rejected node to the next, / searches the session."""

    _feed: InspectorFeed
    CSS_PATH = "inspector.tcss"
    BINDINGS = bindings("inspector")

    def __init__(self, database: Path, session_id: int, start: Place | None, *, search: bool = False) -> None:
        self.session_id = session_id
        self._start = start
        super().__init__(database)
        self.shown: Inspected | None = None
        self.items: list[Item] = []
        self._last_search = LastSearch()
        self._search_first = search

    def make_feed(self, post: Callable[[object], None]) -> InspectorFeed:
        """A feed that goes from round to round."""
        return InspectorFeed(self.database, self.session_id, post, self._start)

    def compose(self) -> ComposeResult:
        """Header, the text before, the tree, the fate of the node under the cursor, keys."""
        yield Line(id="head")
        with Vertical(id="before-pane", classes="pane"):
            yield Words(tail=True, id="before")
        with Vertical(id="nodes-pane", classes="pane"):
            yield Table(node_columns(), lambda item: item.key, id="nodes")
        yield Words(id="why")
        yield Line(id="gaps")
        yield KeyBar(id="keys")

    def on_mount(self) -> None:
        """Name the panes."""
        self.table: Table[Item] = self.query_one("#nodes", Table)
        self.query_one("#before").styles.height = "1fr"
        self.query_one("#before-pane").border_title = "text before this round"
        self.query_one("#before", Words).show(("Loading the session…", "muted"))
        self.query_one("#nodes-pane").border_subtitle = NOTE
        self.table.focus()
        if self._search_first:
            self.action_search()

    def on_resize(self, event: events.Resize) -> None:
        """Give the text before the round what the terminal has room for."""
        self.set_class(event.size.height < SHORT, "-short")
        self.set_class(event.size.height < TINY, "-tiny")
        self.draw()

    def take(self, item: object) -> None:
        """Show the round that was read."""
        if isinstance(item, Inspected):
            self._show(item)
        elif isinstance(item, NoneRejected):
            where = "after" if item.step > 0 else "before"
            self.inform(f"No rejected node {where} this one in the session.")

    def _show(self, shown: Inspected) -> None:
        other = self.shown is None or (shown.generation, shown.number) != (
            self.shown.generation,
            self.shown.number,
        )
        self.shown = shown
        self.items = items_of(shown.row, shown.texts) if shown.row else []
        self.table.show(self.items)
        if shown.node is not None:
            self.table.select(shown.node)
        elif other and self.items:
            rejected = self._rejected()
            path = [item.key for item in self.items if item.fate == "accepted"]
            self.table.select((path or rejected or [self.items[0].key])[-1 if path else 0])

    def _rejected(self) -> list[int]:
        return [item.key for item in self.items if item.fate == "rejected"]

    # Drawing.

    def draw(self) -> None:
        """Header, title, the texts around the table, gaps."""
        shown = self.shown
        if shown is None:
            return
        self.query_one("#head", Line).set_rows([head_row(shown.summary, self.size.width, mode="INSPECT")])
        pane = self.query_one("#nodes-pane")
        title = self._title(shown)
        set_title(pane, title)
        self._draw_before(shown)
        self._draw_why()
        gaps = self.trouble or self._gaps(shown)
        self.query_one("#gaps", Line).set_rows([((f" ! {gaps}", "warning"),)] if gaps else [])
        self.set_class(bool(gaps), "-gaps")

    def _title(self, shown: Inspected) -> str:
        if shown.generation is None:
            return "no rounds"
        row = shown.row
        parts = [
            sanitize_line(shown.generation.task),
            f"prompt {count(shown.generation.position + 1)} of {count(shown.prompts)}",
            f"round {count(shown.number)} of {count(shown.last)}",
        ]
        if row:
            parts += [
                f"{count(row.accepted_length)} of {count(row.node_count)} accepted",
                f"{row.total_ms:,.0f} ms",
            ]
        return fitting(parts, self.size.width - TITLE_FRAME)

    def _draw_before(self, shown: Inspected) -> None:
        words = self.query_one("#before", Words)
        if shown.generation is None:
            words.show(("This session has no rounds yet: nothing was decoded.", "muted"))
        elif shown.begun:
            asked = sanitize(shown.generation.prompt_text).strip()
            words.show((asked, "note"), (shown.before, "text"))
        else:
            words.show((shown.before, "text"))

    def _draw_why(self) -> None:
        shown, item = self.shown, self.table.cursor_item
        words = self.query_one("#why", Words)
        if shown is None or shown.generation is None:
            words.show()
        elif shown.row is None:
            words.show((f"Round {shown.number} is missing from the file.", "muted"))
        elif item is None:
            words.show(("This round had no tree: the draft proposed nothing.", "muted"))
        else:
            greedy = not shown.summary.config.get("temperature")
            words.show((why(item, shown.row, self.items, greedy=greedy), "text"))

    def _gaps(self, shown: Inspected) -> str:
        if shown.row is None:
            return ""
        pruned = shown.generation is not None and shown.generation.pruned_at is not None
        gaps = missing(shown.row, pruned=pruned)
        if shown.unknown:
            gaps += " The session's tokenizer is not in the database: tokens are shown as their ids."
        return gaps.strip()

    @on(Table.Moved)
    def _cursor_moved(self) -> None:
        self._draw_why()

    # Keys.

    def action_rejected(self, step: int) -> None:
        """Go to the next rejected node, or to the one before; over the rounds of the session."""
        keys = [item.key for item in self.items]
        cursor = keys.index(self.table.cursor_item.key) if self.table.cursor_item else -1
        rejected = [keys.index(key) for key in self._rejected()]
        ahead = [i for i in rejected if (i > cursor if step > 0 else i < cursor)]
        if ahead:
            self.table.select(keys[ahead[0] if step > 0 else ahead[-1]])
        else:
            self._feed.seek_rejected(step)

    def action_step_round(self, step: int) -> None:
        """Show the round so many on."""
        self._feed.step(step)

    def action_search(self) -> None:
        """Look for a text or a token in the whole session."""

        def answered(hit: Hit | None) -> None:
            if hit is not None:
                self._feed.go(hit.generation_id, hit.number, hit.idx)

        self.app.push_screen(SearchScreen(self.database, self.session_id, self._last_search), answered)

    def action_replay(self) -> None:
        """Replay from this round."""
        if self.shown is not None and self.shown.generation is not None:
            self.app.go("replay", self.session_id, Place(self.shown.generation.id, self.shown.number))

    def action_copy(self) -> None:
        """Copy the nodes of this round."""
        if self.items:
            self.copy_text(self.text())

    def text(self) -> str:
        """The round as tab-separated text."""
        out = ["token\trank\tq\tp\toverlap\tH draft\tH target\tmatch\tfate"]
        for item in self.items:
            node = item.node
            figures: list[float | int | None] = [None] * 7
            if node:
                entropies = (node.draft_entropy, node.target_entropy)
                figures = [node.rank, node.draft_p, node.target_p, item.overlap, *entropies, node.match]
            cells = [NOTHING if f is None else f"{f:g}" for f in figures]
            out.append("\t".join([item.lead + item.text, *cells, item.fate]))
        return "\n".join(out)

    def running(self) -> Iterable[SessionSummary | None]:
        """The session that is inspected."""
        return [self.shown.summary if self.shown else None]
