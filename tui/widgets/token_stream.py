"""The text of a generation as it is committed: accepted, the target's own, and rejected spans told apart."""

from __future__ import annotations

from collections.abc import Iterable

from rich.cells import cell_len
from rich.segment import Segment
from textual import events
from textual.geometry import Region, Size
from textual.message import Message
from textual.strip import Strip

from spectui.tui.model.pieces import Piece
from spectui.tui.model.transcript import Transcript
from spectui.tui.navigation.keymap import bindings, key_for
from spectui.tui.terminal.cells import count
from spectui.tui.terminal.theme import styles
from spectui.tui.widgets.rows import Cell, Line, LineView, row_width, set_scroll_size

JUMP = 8
"""Rows the view moves at a time while following, or half its height if that is more. Terminals are sent
whole panes when one scrolls, so that moving row by row would cost several times the bytes of the text."""


class TokenStream(LineView, can_focus=True, inherit_bindings=False):
    """A text view that follows its end; append pieces to it."""

    ALLOW_SELECT = False
    DEFAULT_CSS = """
    TokenStream {
        height: 1fr;
        overflow-x: hidden;
        overflow-y: scroll;
        scrollbar-size: 1 1;
    }
    """
    BINDINGS = bindings("token_stream")

    class FollowChanged(Message):
        """The reader scrolled away from the end, or back to it."""

        def __init__(self, stream: TokenStream, *, follow: bool) -> None:
            super().__init__()
            self.stream = stream
            self.follow = follow

        @property
        def control(self) -> TokenStream:
            """The stream it happened in."""
            return self.stream

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._full = Transcript()
        self._committed = Transcript()
        self._show_rejected = True
        self._follow = True
        self._growing = True
        self._moving = False
        self._mark = 0
        self.new_below = 0
        """Tokens that arrived since the reader left the end."""

    @property
    def transcript(self) -> Transcript:
        """The text that is drawn: with the rejected spans or without."""
        return self._full if self._show_rejected else self._committed

    @property
    def follow(self) -> bool:
        """True while the view stays at the end."""
        return self._follow

    @property
    def show_rejected(self) -> bool:
        """True while rejected spans are drawn."""
        return self._show_rejected

    def clear(self, note: str = "") -> None:
        """Forget the text; `note` stands in its place until some comes."""
        width = self.transcript.width
        self._full, self._committed = Transcript(width), Transcript(width)
        self.new_below = 0
        if note:
            self.append_note(note)
        self._resize_view()
        if not self._follow:
            self._move_to(0)
        self.refresh()

    def append_note(self, text: str, kind: str = "note") -> None:
        """A remark (or "error") that is not part of the output. The text must be sanitized."""
        for transcript in (self._full, self._committed):
            transcript.append(kind, ("\n\n" if transcript.length else "") + text, 0)
        self._resize_view()
        self.refresh()

    def append(self, pieces: Iterable[Piece], *, new: bool = True) -> None:
        """Add text at the end; only lines that change are drawn. `new` text is counted for the reader."""
        pieces = tuple(pieces)
        shown = self.transcript
        first = max(shown.line_count - 1, 0)
        before = self._plain(first)
        self._full.extend((p.kind, p.text, p.number) for p in pieces)
        self._committed.extend((p.kind, p.text, p.number) for p in pieces if p.kind != "rejected")
        if new and not self._follow:
            self.new_below += sum(p.tokens for p in pieces)
        self._resize_view()
        self._refresh_from(first, before)

    def rewind(self, number: int) -> None:
        """Forget the text of the rounds after `number`; only lines that change are drawn."""
        first, before = self.transcript.line_count, self.transcript.line_count
        for transcript in (self._full, self._committed):
            line = transcript.cut(number)
            if transcript is self.transcript:
                first = line
        self._resize_view()
        top, height = self.scroll_offset.y, self.size.height
        for y in range(max(first, top), min(before, top + height)):
            self.refresh(Region(0, y - top, self.size.width, 1))

    def set_growing(self, growing: bool) -> None:
        """Say that more text is expected: only then the view moves in jumps."""
        if growing != self._growing:
            self._growing = growing
            self._resize_view()

    def set_follow(self, follow: bool) -> None:
        """Stay at the end from now on, or stay here."""
        self._follow = follow
        if follow:
            self.new_below = 0
        self._resize_view()

    def set_show_rejected(self, show: bool) -> None:
        """Draw rejected spans or hide them, keeping the reader's place."""
        number = self.transcript.round_at(round(self.scroll_y))
        self._show_rejected = show
        self._resize_view()
        if not self._follow:
            self._move_to(self.transcript.line_of_round(number))
        self.refresh()

    def set_mark(self, number: int) -> None:
        """Mark the text of one round (0: none) and bring it into view."""
        if number == self._mark:
            return
        self._mark = number
        if number:
            line = self.transcript.line_of_round(number)
            top, height = round(self.scroll_y), self.size.height
            if not top <= line < top + height:
                self._move_to(max(line - height // 2, 0))
        self.refresh()

    def action_scroll_by(self, rows: int) -> None:
        """Move by some rows."""
        self.scroll_to(y=self.scroll_y + rows, animate=False)

    def action_scroll_page(self, pages: int) -> None:
        """Move by pages, keeping one row of overlap."""
        self.action_scroll_by(pages * max(self.size.height - 1, 1))

    def on_resize(self, event: events.Resize) -> None:
        """Wrap to the new width, keeping the reader's place."""
        number = self.transcript.round_at(round(self.scroll_y))
        width = self.scrollable_content_region.width
        resized = [t.resize(width) for t in (self._full, self._committed)]
        self._resize_view()
        if any(resized):
            if not self._follow:
                self._move_to(self.transcript.line_of_round(number))
            self.refresh()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Tell the reader's own scrolling from ours."""
        super().watch_scroll_y(old_value, new_value)
        if self._moving or round(old_value) == round(new_value):
            return
        at_end = new_value >= self.max_scroll_y
        if at_end != self._follow:
            self.post_message(self.FollowChanged(self, follow=at_end))

    def render_line(self, y: int) -> Strip:
        """Line `y` of the visible part."""
        known = styles(self.app.theme)
        base = self.base
        segments = []
        for kind, text, number in self.transcript.line(y + self.scroll_offset.y):
            style = base + known[kind]
            if number and number == self._mark:
                style += known["marked"]
            segments.append(Segment(text, style))
        return Strip(Segment.simplify(segments)).extend_cell_length(self.size.width, base)

    def _plain(self, y: int) -> str:
        return "".join(text for _, text, _ in self.transcript.line(y))

    def _refresh_from(self, first: int, before: str) -> None:
        """Draw the line that was open when it read `before`, from where it differs, and all that follow."""
        top, height = self.scroll_offset.y, self.size.height
        last = min(self.transcript.line_count, top + height)
        for y in range(max(first, top), last):
            start, end = 0, self.size.width
            if y == first:
                after = self._plain(y)
                if after.startswith(before):
                    start = cell_len(before)
                    end = cell_len(after)
            if end > start:
                self.refresh(Region(start, y - top, end - start, 1))

    def _resize_view(self) -> None:
        """Fit the scrollable height to the text, and go to the end when following."""
        lines, height = self.transcript.line_count, self.size.height
        if not height:
            return
        extra = max(lines - height, 0)
        if self._growing:
            jump = max(JUMP, height // 2)
            extra = -(-extra // jump) * jump
        y = extra if self._follow else min(round(self.scroll_y), extra)
        self._moving = True
        try:
            # Down first, then shorter: what Textual clamps by itself would look like the reader's doing.
            if y < self.scroll_y:
                self.scroll_to(y=y, animate=False)
            # No shorter than the view: each line of a text that fits would repaint the scrollbar.
            set_scroll_size(self, Size(0, height + extra))
            if y != self.scroll_y:
                self.scroll_to(y=y, animate=False)
        finally:
            self._moving = False

    def _move_to(self, line: int) -> None:
        self._moving = True
        try:
            self.scroll_to(y=line, animate=False)
        finally:
            self._moving = False


class Legend(Line):
    """One line under the token stream: the looks of its kinds of text, and how much is new below."""

    def show(self, *, rejected: bool, follow: bool, new_below: int, live: bool) -> None:
        """Draw the legend for the stream's present state."""
        width = self.size.width
        kinds: list[Cell] = [("accepted draft", "accepted"), ("   ", "text"), ("target's own", "target")]
        if width < 60:
            kinds = [("accepted", "accepted"), ("  ", "text"), ("target's", "target")]
        kinds.append(("   " if width >= 60 else "  ", "text"))
        kinds.append(("rejected draft" if width >= 60 else "rejected", "rejected" if rejected else "muted"))
        if not rejected:
            kinds.append((" hidden", "muted"))
        state = self._state(follow=follow, new_below=new_below, live=live)
        gap = width - row_width(tuple(kinds)) - row_width(tuple(state))
        row = (*kinds, (" " * gap, "text"), *state) if gap > 0 else tuple(state or kinds)
        self.set_rows([row])

    def _state(self, *, follow: bool, new_below: int, live: bool) -> list[Cell]:
        if new_below:
            below = f"↓ {count(new_below)} new below "
            return [(below, "warning"), (key_for(self, "end"), "key"), (" end", "muted")]
        if not live:
            return []
        return (
            [("following", "muted")]
            if follow
            else [(key_for(self, "toggle_follow"), "key"), (" follows", "muted")]
        )
