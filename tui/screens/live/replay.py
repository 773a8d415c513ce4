"""Plays a session again in the live screen, from any point and at any speed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from textual import on
from textual.app import ComposeResult

from spectui.tui.feeds.replay import SPEEDS, ReplayFeed
from spectui.tui.model.goto import HINT, parse
from spectui.tui.model.state import Moment, Rewound
from spectui.tui.model.timeline import Place
from spectui.tui.navigation.keymap import bindings, key_for
from spectui.tui.screens.dialogs.ask import AskScreen
from spectui.tui.screens.live.screen import LiveScreen
from spectui.tui.terminal.theme import task_slots
from spectui.tui.widgets.key_bar import KeyBar
from spectui.tui.widgets.rows import Line
from spectui.tui.widgets.scrubber import Scrubber, speed_words
from spectui.tui.widgets.status import Status
from spectui.tui.widgets.table import Table


class ReplayScreen(LiveScreen):
    """The live screen on a clock: space plays, arrows step, the scrubber says where it is."""

    MODE = "REPLAY"
    CSS_PATH = ["screen.tcss", "replay.tcss"]  # noqa: RUF012
    BINDINGS = bindings("replay")

    def __init__(
        self, database: Path, session_id: int, start: Place | None = None, *, play: bool = False
    ) -> None:
        self._start = start
        super().__init__(database, session_id)
        self.moment: Moment | None = None
        if play:
            self._clock.toggle()

    def make_feed(self, post: Callable[[object], None]) -> ReplayFeed:
        """A feed with a clock."""
        self._clock = ReplayFeed(self.database, self.session_id, post, self._start)
        return self._clock

    def compose(self) -> ComposeResult:
        """As the live screen, with the scrubber under its panes."""
        yield Line(id="head")
        yield self.body
        yield Line(id="notice")
        yield Scrubber(id="scrubber")
        yield Status(id="status")
        yield KeyBar(id="keys")

    def take(self, item: object) -> None:
        """Show what the feed has read."""
        if isinstance(item, Moment):
            self.moment = item
            if self.state is not None:
                slots = task_slots(self.state.summary.tasks)
                shown = item.place.generation_id
                self.query_one(Scrubber).show(item, self.state.generations, slots, shown)
            self.stream.set_mark(0 if item.playing else item.place.number)
        elif isinstance(item, Rewound):
            self.stream.rewind(item.number)
        else:
            super().take(item)

    # The clock.

    def action_toggle_run(self) -> None:
        """Play, or hold."""
        self.stream.set_follow(True)
        self._clock.toggle()

    def action_step_round(self, step: int) -> None:
        """Go on by rounds, or back, over the borders of prompts."""
        self.stream.set_follow(True)
        self._clock.step(step)

    def action_step_prompt(self, step: int) -> None:
        """Go to the start of this prompt, then of the one before; or of the next."""
        self.stream.set_follow(True)
        self._clock.step_prompt(step)

    def action_change_speed(self, step: int) -> None:
        """Play faster or slower."""
        now = self.moment.speed if self.moment else 1.0
        place = min(max(SPEEDS.index(now) + step, 0), len(SPEEDS) - 1)
        self._clock.set_speed(SPEEDS[place])
        self.inform(f"Speed {speed_words(SPEEDS[place])}", 1)

    def on_mount(self) -> None:
        """Count bins where the chart shown last draws them."""
        self.call_after_refresh(lambda: self._clock.want_bins(self.body.shows_bins))

    def action_toggle_chart(self, step: int) -> None:
        """Show the chart after this one, or before it; bins are counted for those that show them."""
        super().action_toggle_chart(step)
        self._clock.want_bins(self.body.shows_bins)

    def action_go_to(self) -> None:
        """Ask for a prompt, a round or a time."""
        self.app.push_screen(
            AskScreen("go to", "", HINT, lambda text: self._clock.seek(parse(text)), does="goes")
        )

    def action_to_start(self) -> None:
        """Go to the first round."""
        self._clock.seek(parse("0%"))

    def action_to_end(self) -> None:
        """Go to the last round."""
        self._clock.seek(parse("100%"))

    @on(Scrubber.Sought)
    def _scrubbed(self, message: Scrubber.Sought) -> None:
        self._clock.seek(parse(f"{message.part * 100:.4f}%"))

    @on(Table.Chosen)
    def _prompt_sought(self, message: Table.Chosen) -> None:
        message.stop()
        message.prevent_default()
        self._clock.look_at(message.key)
        if self.body.single:
            self.action_pane(1)

    def action_inspect(self, search: bool = False) -> None:
        """Hold, and look into the round."""
        if self.moment is not None and self.moment.playing:
            self._clock.toggle()
        start = self.moment.place if self.moment is not None else None
        self.app.go("inspector", self.session_id, start, search=search)

    def action_replay(self, *, play: bool = False) -> None:
        """Do nothing: this is the replay."""

    # What means something else here than in a live session.

    def action_toggle_follow(self) -> None:
        """Go to the end of the text, and stay there."""
        self.stream.set_follow(not self.stream.follow)

    def action_zoom_chart(self) -> None:
        """Say that charts on the whole screen are of whole sessions."""
        leave, zoom = key_for(self, "back"), key_for(self, "zoom_chart")
        self.inform(
            f"A chart on the whole screen is of the whole session: leave the replay ({leave}), then {zoom}."
        )

    def action_skip_prompt(self) -> None:
        """Say that a replay sends nothing to a worker."""
        self.inform(f"This is a replay; {key_for(self, 'back')} goes back to the session itself.")

    def action_leave(self) -> None:
        """Leave the dashboard; the state shown is one of the past, so it cannot say whether there is a run."""
        live = self.state is not None and self.moment is not None and self.moment.live
        self.app.leave([self.state.summary] if live and self.state else [])

    def action_back(self) -> None:
        """Show all panes again where one is alone, else leave the replay."""
        if self.body.show_all_panes():
            self.call_after_refresh(self.draw)
        else:
            self.app.pop_screen()
