"""The speculative tree of one round: a row for each leaf, a column for each depth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from spectui.store.rows import NodeRow, RoundRow
from spectui.tui.model.transcript import wrap
from spectui.tui.terminal.cells import fit, fitting, share
from spectui.tui.widgets.rows import Cell, Row, Rows

LONGEST_TOKEN = 14
"""Cells of a token before it is cut: a column must stay narrow enough for three to fit."""
SHORTEST_TOKEN = 5

ROOT = -1
BONUS = -2
"""Stands for the target's own token, which is no node of the tree."""

BONUS_CELLS = 6
"""Kept free on the right for a target's own token that follows the deepest node."""

WHY_ROWS = 3
NOTE = "q/p draft/target  ✓ target's choice"


class TreeView(Rows, can_focus=True):
    """Token, probabilities, rank and match mark of every node; the accepted path is bold."""

    DEFAULT_CSS = "TreeView { overflow-x: auto; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._round: RoundRow | None = None
        self._texts: Mapping[int, str] = {}
        self._title: tuple[str, ...] = ()
        self._why = ""

    @property
    def number(self) -> int:
        """The round that is shown; 0 for none."""
        return self._round.number if self._round else 0

    def show(self, row: RoundRow, texts: Mapping[int, str], title: Sequence[str], why: str = "") -> None:
        """Draw the tree of this round; `texts` has every token of it, safe to draw and on one line; `why`, the reason
        for this tree, stands below it.

        The parts of the title that fit are a row, since a border's title cannot change without the pane being
        sent anew.
        """
        self._round, self._texts, self._title, self._why = row, texts, tuple(title), why
        self._draw()

    def clear(self) -> None:
        """Show no tree."""
        self._round = None
        self.set_rows([])

    def on_resize(self) -> None:
        """Draw for the new width."""
        self._draw()

    def _draw(self) -> None:
        if self._round is not None and self.room:
            rows, width = draw_tree(self._round, self._texts, self.room)
            rows.insert(0, ((fitting(self._title, self.room), "text"),))
            rows[1:1] = [((line, "muted"),) for line in wrap(self._why, self.room)[:WHY_ROWS]]
            self.set_rows(rows, width if width > self.room else 0)


def draw_tree(row: RoundRow, texts: Mapping[int, str], width: int) -> tuple[list[Row], int]:
    """The rows of a tree and the cells they take, at most `width` if the tree's depth allows."""
    return _Drawing(row, texts, width).rows()


class _Drawing:
    def __init__(self, row: RoundRow, texts: Mapping[int, str], width: int) -> None:
        self.row = row
        self.texts = texts
        self.nodes = {node.idx: node for node in row.nodes}
        self.children: dict[int, list[int]] = {}
        for node in sorted(row.nodes, key=lambda n: n.rank):
            self.children.setdefault(ROOT if node.parent is None else node.parent, []).append(node.idx)
        self.tip = max((n for n in row.nodes if n.accepted), key=lambda n: n.depth, default=None)
        tip = self.tip.idx if self.tip else ROOT
        if row.bonus_token_id is not None:
            self.children.setdefault(tip, []).append(BONUS)
        self.depth = max((n.depth for n in row.nodes), default=1)
        self.has_q = any(n.draft_p is not None for n in row.nodes)
        longest = max((len(self.text_of(i)) for i in [*self.nodes, BONUS]), default=1)
        # Both probabilities where there is room, else the drafter's own, else the target's.
        room = (width - 1 - BONUS_CELLS) // self.depth
        self.both = self.has_q and room >= self.fixed(both=True) + SHORTEST_TOKEN
        token = room - self.fixed(both=self.both)
        self.token_width = max(SHORTEST_TOKEN, min(token, LONGEST_TOKEN, longest))
        self.out: list[Row] = []

    def fixed(self, *, both: bool) -> int:
        """Cells of a node beside its token: lead, rank, probabilities, mark."""
        return 3 + 2 + (8 if both else 5) + 2

    def text_of(self, index: int) -> str:
        token_id = self.row.bonus_token_id if index == BONUS else self.nodes[index].token_id
        text = self.texts.get(token_id, "") if token_id is not None else ""
        return text.replace(" ", "·")

    def rows(self) -> tuple[list[Row], int]:
        column = self.token_width + self.fixed(both=self.both)
        self.visit(ROOT, [("●", "muted")], [(" ", "muted")])
        return self.out, 1 + column * self.depth + (BONUS_CELLS if self.tip_is_deepest() else 0)

    def tip_is_deepest(self) -> bool:
        return self.tip is not None and self.tip.depth == self.depth

    def visit(self, index: int, line: list[Cell], rest: list[Cell]) -> None:
        """Draw the children of a node: the first on the node's own `line`, others behind `rest`."""
        children = self.children.get(index, [])
        if not children:
            self.out.append(tuple(line))
        for position, child in enumerate(children):
            first, last = position == 0, position == len(children) - 1
            on_path = child == BONUS or self.nodes[child].accepted
            joint = ("──" if last else "┬─") if first else ("└─" if last else "├─")
            lead: Cell = (joint + " ", "accent" if on_path else "muted")
            pad = " " * (self.token_width + self.fixed(both=self.both) - 3)
            below: list[Cell] = [*rest, ("   " if last else "│  ", "muted"), (pad, "muted")]
            self.visit(child, [*(line if first else rest), lead, *self.cells(child)], below)

    def cells(self, index: int) -> list[Cell]:
        if index == BONUS:
            return [("→ ", "target"), (self.text_of(index), "target"), ("  target's own", "muted")]
        token = fit(self.text_of(index), self.token_width)
        node = self.nodes[index]
        role = "accepted-path" if node.accepted else "text"
        quiet = "text" if node.accepted else "muted"
        return [
            (f"{node.rank} " if node.rank < 10 else f"{node.rank}", quiet),
            (token, role),
            (self.probabilities(node), quiet),
            (" ✓", "good") if node.match else ("  ", "muted"),
        ]

    def probabilities(self, node: NodeRow) -> str:
        """`` .31/.62`` where both are known and there is room, else the one there is, named."""
        q, p = share(node.draft_p), share(node.target_p)
        if self.both:
            return f" {q:>3}/{p:<3}"
        return f" q{q:>3}" if node.draft_p is not None else f" p{p:>3}"
