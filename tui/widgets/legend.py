"""What the kinds of text look like, and how much is new below the view."""

from __future__ import annotations

from spectui.tui.keys import named
from spectui.tui.terminal.cells import count
from spectui.tui.widgets.rows import Cell, Line, row_width


class Legend(Line):
    """One line under the token stream."""

    def show(self, *, rejected: bool, follow: bool, new_below: int, live: bool) -> None:
        """Draw the legend for the stream's present state."""
        width = self.size.width
        left: list[Cell] = [("accepted draft", "accepted"), ("   ", "text"), ("target's own", "target")]
        if width < 60:
            left = [("accepted", "accepted"), ("  ", "text"), ("target's", "target")]
        left.append(("   " if width >= 60 else "  ", "text"))
        left.append(("rejected draft" if width >= 60 else "rejected", "rejected" if rejected else "muted"))
        if not rejected:
            left.append((" hidden", "muted"))
        right = self._state(follow=follow, new_below=new_below, live=live)
        gap = width - row_width(tuple(left)) - row_width(tuple(right))
        row = (*left, (" " * gap, "text"), *right) if gap > 0 else tuple(right or left)
        self.set_rows([row])

    def _state(self, *, follow: bool, new_below: int, live: bool) -> list[Cell]:
        if new_below:
            below = f"↓ {count(new_below)} new below "
            return [(below, "warning"), (named(self, "G"), "key"), (" end", "muted")]
        if not live:
            return []
        return [("following", "muted")] if follow else [(named(self, "p"), "key"), (" follows", "muted")]
