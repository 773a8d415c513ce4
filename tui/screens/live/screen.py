"""One session, live or of any age: its text, its trees, its figures and its prompts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.worker import Worker, WorkerState

from spectui.store.errors import StoreError
from spectui.store.rows import GenerationRow, SessionSummary
from spectui.tui.feeds.session import SessionFeed
from spectui.tui.feeds.writes import send
from spectui.tui.model.gaps import Gaps
from spectui.tui.model.state import Charts, Ended, Opened, RunState, Stream, Tree
from spectui.tui.model.timeline import Place
from spectui.tui.navigation.keymap import bindings
from spectui.tui.screens.base import FedScreen
from spectui.tui.screens.live.body import VIEWS, LiveBody
from spectui.tui.screens.live.titles import notice_rows
from spectui.tui.widgets.gpu_panel import GpuPanel
from spectui.tui.widgets.head import head_row
from spectui.tui.widgets.key_bar import KeyBar
from spectui.tui.widgets.replica_panel import ReplicaPanel
from spectui.tui.widgets.rows import Line
from spectui.tui.widgets.status import Status
from spectui.tui.widgets.table import Table
from spectui.tui.widgets.token_stream import TokenStream

if TYPE_CHECKING:
    from spectui.tui.feeds.replay import ReplayFeed


class LiveScreen(FedScreen):
    """Watch or browse one session."""

    _feed: SessionFeed | ReplayFeed
    MODE: ClassVar[str] = ""
    """Stands in the header of a screen whose time is not the present."""
    CSS_PATH = ["screen.tcss"]  # noqa: RUF012
    BINDINGS = bindings("live")

    def __init__(self, database: Path, session_id: int) -> None:
        self.session_id = session_id
        super().__init__(database)
        self.state: RunState | None = None
        self.shown: GenerationRow | None = None
        self.follow = True
        self.body = LiveBody(session_id, id="body")
        self.stream = self.body.stream
        self._round: int | None = None
        self._last_round = 0
        self._gaps = Gaps()

    def make_feed(self, post: Callable[[object], None]) -> SessionFeed | ReplayFeed:
        """The feed that reads for this screen."""
        return SessionFeed(self.database, self.session_id, post)

    def compose(self) -> ComposeResult:
        """Header, panes, GPUs, notice, status, keys."""
        yield Line(id="head")
        yield self.body
        yield GpuPanel(id="gpus")
        yield ReplicaPanel(id="replica-panel")
        yield Line(id="notice")
        yield Status(id="status")
        yield KeyBar(id="keys")

    def on_resize(self, event: events.Resize) -> None:
        """Choose the layout for the terminal's size."""
        self.body.fit(event.size)
        self.call_after_refresh(self.draw)

    # What the feed has read.

    def take(self, item: object) -> None:
        """Show one thing that was read."""
        if isinstance(item, RunState):
            self._take_state(item)
        elif isinstance(item, Opened):
            self._take_opened(item.generation)
        elif isinstance(item, Stream):
            self.body.add(item)
        elif isinstance(item, Ended):
            self.body.end(item.generation)
        elif isinstance(item, Tree):
            self._last_round = item.last
            self.body.show_tree(item, held=self._round is not None)
        elif isinstance(item, Charts):
            self.body.show_charts(item)
        elif isinstance(item, Gaps):
            self._gaps = item

    def _take_state(self, state: RunState) -> None:
        self.state = state
        if self.shown is not None:
            self.shown = next((g for g in state.generations if g.id == self.shown.id), self.shown)
        self.body.show_state(state)
        for panel in self.query(GpuPanel):  # a replay has none
            panel.show(state.summary)
        for replicas in self.query(ReplicaPanel):
            replicas.show(state)
        if not self.MODE:
            self.query_one(KeyBar).set_state("live" if state.summary.live else "over")
        known = state.generations if state.complete else ()
        self.query_one(Status).show(state.summary, known, state.pending)

    def _take_opened(self, generation: GenerationRow) -> None:
        self.shown = generation
        self._gaps = Gaps()
        self._round = None
        self._last_round = 0
        self.body.open(generation, follow=self.follow or generation.status == "running")

    def draw(self) -> None:
        """The one-line parts: header, titles, legend, notice."""
        self.body.draw_lines(self.shown, follow=self.follow)
        summary = self.state.summary if self.state else None
        rows = notice_rows(
            summary,
            self.trouble,
            self._gaps.words,
            self.size.width,
            self.state.unexplained if self.state else None,
        )
        if summary is not None:
            pane = self.body.pane if self.body.single else 0
            self.query_one("#head", Line).set_rows(
                [head_row(summary, self.size.width, pane=pane, mode=self.MODE)]
            )
        notice = self.query_one("#notice", Line)
        if tuple(rows) != notice.rows:
            notice.styles.height = len(rows)
            notice.set_rows(rows)
            self.set_class(bool(rows), "-notice")

    def action_pane(self, pane: int) -> None:
        """Go to a pane; where all are in sight, its number shows it alone, then all again."""
        self.body.choose(pane)
        self.call_after_refresh(self.draw)

    def action_next_pane(self) -> None:
        """Go to the pane after this one."""
        self.action_pane(self.body.pane % len(VIEWS) + 1)

    def action_toggle_chart(self, step: int) -> None:
        """Show the chart after this one, or before it."""
        self.body.next_chart(step)

    def action_zoom_chart(self) -> None:
        """Show the chart with axes on the whole screen."""
        self.app.go("chart", self.session_id, self.body.chart)

    # Reading.

    def action_toggle_follow(self) -> None:
        """Follow the prompt that is being decoded, or stay where we are."""
        if self.follow:
            self._pin()
        else:
            self._resume()
        self.draw()

    def _pin(self) -> None:
        self.follow = False
        self.stream.set_follow(False)
        if self.shown is not None:
            self._feed.look_at(self.shown.id, keep_round=True)

    def _resume(self) -> None:
        self.follow = True
        self._set_round(None)
        self.stream.set_follow(True)
        self._feed.look_at(None)

    @on(TokenStream.FollowChanged)
    def _reader_scrolled(self, message: TokenStream.FollowChanged) -> None:
        if not message.follow:
            self._pin()
        elif self._shown_is_live():
            self._resume()
        else:
            self.stream.set_follow(True)
        self.draw()

    def _shown_is_live(self) -> bool:
        return self.shown is not None and self.shown.status == "running"

    def action_top(self) -> None:
        """Go to the beginning of the text."""
        self._pin()
        self.stream.scroll_to(y=0, animate=False)
        self.draw()

    def action_end(self) -> None:
        """Go to the end of the text, and stay there."""
        if self._shown_is_live():
            self._resume()
        else:
            self.stream.set_follow(True)
        self.draw()

    def action_toggle_rejected(self) -> None:
        """Show or hide rejected spans."""
        self.body.toggle_rejected()
        self.draw()

    def action_advise(self) -> None:
        """Weigh trees on this session."""
        self.app.go("advise", self.session_id)

    def action_report(self) -> None:
        """Open the report of this session."""
        self.app.go("report", self.session_id)

    def action_whole_prompt(self) -> None:
        """Show all of the prompt, or its beginning."""
        self.body.prompt.toggle()

    def action_copy(self) -> None:
        """Copy the answer to the prompt that is shown, without rejected drafts."""
        text = self.stream.transcript.text_of("accepted", "target")
        self.copy_text(text, "There is no text to copy yet.")

    def action_step_prompt(self, step: int) -> None:
        """Open the prompt before or after the one that is shown."""
        if self.state is None or self.shown is None:
            return
        generations = self.state.generations
        index = next((i for i, g in enumerate(generations) if g.id == self.shown.id), 0) + step
        if 0 <= index < len(generations):
            self.open_prompt(generations[index].id)

    def action_step_running(self, step: int) -> None:
        """Follow the next prompt that is being decoded, of several, or the one before."""
        if self.state is None or self.shown is None:
            return
        running = [g.id for g in self.state.generations if g.status == "running"]
        if not running or running == [self.shown.id]:
            self.inform("No other prompt is being decoded.")
            return
        place = next((i for i, g in enumerate(running) if g == self.shown.id), -step if step > 0 else 0)
        self._follow_from(running[(place + step) % len(running)])

    def _follow_from(self, generation_id: int) -> None:
        """Follow a prompt that is being decoded, of several."""
        if isinstance(self._feed, SessionFeed):
            self.follow = True
            self._round = None
            self.stream.set_mark(0)
            self._feed.follow_from(generation_id)
            self.draw()

    def open_prompt(self, generation_id: int) -> None:
        """Show this prompt and stay with it."""
        self.follow = False
        self._round = None
        self._feed.look_at(generation_id)

    @on(Table.Chosen)
    def _prompt_chosen(self, message: Table.Chosen) -> None:
        if message.table is self.body.replicas:
            self._replica_chosen(message.key)
            return
        self.open_prompt(message.key)
        if self.body.single:
            self.action_pane(1)

    def _replica_chosen(self, replica_id: int) -> None:
        """Follow the prompt that a replica is decoding."""
        rows = self.state.generations if self.state else ()
        running = [g.id for g in rows if g.replica_id == replica_id and g.status == "running"]
        if not running:
            self.inform("This replica has no prompt now.")
            return
        self._follow_from(running[-1])
        self.action_pane(1)

    def action_step_round(self, step: int) -> None:
        """Draw the tree of the round before or after; stepping past the newest follows again."""
        if not self._last_round:
            return
        number = (self._round or self._last_round) + step
        if number > self._last_round:
            if self._shown_is_live():
                self._resume()
            else:
                self._set_round(None)
        else:
            if self.follow:
                self._pin()
            self._set_round(max(number, 1))
        self.draw()

    def _set_round(self, number: int | None) -> None:
        self._round = number
        self.stream.set_mark(number or 0)
        self._feed.look_at_round(number)

    # The run.

    def action_toggle_run(self) -> None:
        """Pause the run, or let it go on; where there is none, play the session again."""
        if self.state is None:
            return
        if not self.state.summary.live:
            self.action_replay(play=True)
            return
        pending = [kind for kind in self.state.pending if kind in ("pause", "resume")]
        paused = pending[-1] == "pause" if pending else self.state.summary.status == "paused"
        self._send("resume" if paused else "pause")

    def action_replay(self, *, play: bool = False) -> None:
        """Play the session again, from the round that is held or the start of the prompt that is shown."""
        if self.state is None or not self.state.summary.rounds:
            self.inform("There is nothing to replay: no round has been decoded yet.")
            return
        start = Place(self.shown.id, self._round or 1) if self.shown else None
        self.app.go("replay", self.session_id, start, play=play)

    def action_inspect(self, search: bool = False) -> None:
        """Look into the round whose tree is shown, or for a text in the whole session."""
        number = self._round or self.body.tree_view.number
        start = Place(self.shown.id, number) if self.shown is not None and number else None
        self.app.go("inspector", self.session_id, start, search=search)

    def action_skip_prompt(self) -> None:
        """Leave the prompt that is being decoded."""
        if self.state is not None and self.state.summary.of_clients:
            self.inform("These are requests of the server's clients: they are not ours to skip.")
            return
        self._send("skip")

    def _send(self, kind: str) -> None:
        if self.state is None or not self.state.summary.live:
            status = self.state.summary.status if self.state else "not read yet"
            self.inform(f"This session is {status}: there is no run to {kind}.")
            return
        self.run_worker(
            lambda: send(self.database, self.session_id, kind),
            name=f"send {kind}",
            group="send",
            thread=True,
            exit_on_error=False,
        )

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """Read at once after a command was written, or show its error."""
        if event.worker.group != "send":
            return
        if event.state == WorkerState.ERROR:
            error = event.worker.error
            self.show_error(
                str(error) if isinstance(error, StoreError) else f"{type(error).__name__}: {error}"
            )
        elif event.state == WorkerState.SUCCESS:
            self._feed.hurry()

    def running(self) -> Iterable[SessionSummary | None]:
        """This session."""
        return [self.state.summary if self.state else None]

    def action_back(self) -> None:
        """Show all panes again where one is alone, else go to the list of sessions."""
        if self.body.show_all_panes():
            self.call_after_refresh(self.draw)
        else:
            self.app.go_home()
