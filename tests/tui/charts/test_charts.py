"""Charts: what their points say, how they follow each other, and what the cursor reads on the whole screen."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from spectui.store.reading.reader import Reader
from spectui.tui import charts
from spectui.tui.charts import accepted_over_time, all_charts, depth, entropy, length, speed
from spectui.tui.charts.base import source_of, together
from spectui.tui.charts.sources import SourceReader, read_sources
from spectui.tui.charts.time_spans import FINENESS, MOST, TimeSpans
from spectui.tui.screens.chart import ChartScreen
from spectui.tui.screens.compare import CompareScreen
from spectui.tui.widgets.histogram import Histogram
from spectui.tui.widgets.plot import Plot
from spectui.tui.widgets.rows import Line, Rows
from tests.tui.conftest import app_for, live_screen, wait_for
from tests.tui.replay import Recording


def test_points_are_those_of_the_figures(database: Path, finished: Recording) -> None:
    with Reader(database) as reader:
        sources, figures = read_sources(reader, finished.id), reader.figures(finished.id)
        rounds = [(g.task, r) for g in reader.generations(finished.id) for r in reader.rounds(g.id)]
    assert list(sources) == list(figures)
    code = figures["code"]
    assert [p.value for p in length.CHART.points(sources["code"])] == [
        code.lengths.get(i, 0) / code.rounds for i in range(max(code.lengths) + 1)
    ]
    assert [p.value for p in depth.CHART.points(sources["code"])] == [
        level.hazard for level in code.depths.values()
    ]
    nodes = [n for task, r in rounds if task == "code" for n in r.nodes]
    matched = [n.draft_entropy for n in nodes if n.match and n.draft_entropy is not None]
    for point in entropy.CHART.points(sources["code"]):
        inside = sum(point.low <= e < point.high for e in matched)
        assert point.value == pytest.approx(inside / len(matched))
    # Time: every token is somewhere, in the session's order.
    everything = together(sources.values())
    for chart in (speed.CHART, accepted_over_time.CHART):
        points = chart.points(everything)
        assert points[-1].high * 1000 == pytest.approx(sum(f.total_ms for f in figures.values()))
        assert all(p.value is not None for p in points)
    assert everything.rounds == len(rounds)
    assert everything.bins is not None
    assert sum(b.nodes for b in everything.bins.probability) == sum(f.nodes for f in figures.values())


def test_sources_read_while_a_session_grows_are_those_read_at_its_end(database: Path) -> None:
    recording = Recording(database, prompts=8)
    recording.begin()
    with Reader(database) as reader:
        growing = SourceReader(recording.id)
        growing.read(reader)
        for tokens in (30, 200, 90, 400, 20, 60):
            recording.prompt(tokens=tokens)
            grown = growing.read(reader)
        whole = read_sources(reader, recording.id)
        assert list(grown) == list(whole)
        for task, source in whole.items():
            read_on = grown[task]
            assert (read_on.rounds, read_on.lengths, read_on.depths, read_on.bins) == (
                source.rounds, source.lengths, source.depths, source.bins
            )  # fmt: skip
            for name in ("rounds", "tokens", "accepted"):
                assert sum(getattr(s, name) for s in read_on.spans) == sum(
                    getattr(s, name) for s in source.spans
                )
            assert read_on.total_ms == pytest.approx(source.total_ms)
        # A prompt that begins again takes its rounds back: the spans are then others.
        half_done = recording.prompt(tokens=300, finish=None)
        growing.read(reader)
        recording.writer.restart_generation(half_done)
        assert growing.read(reader) == read_sources(reader, recording.id)
    recording.close()


def test_the_spans_of_a_session_stay_as_small_however_long_it_grows(
    finished: Recording, database: Path
) -> None:
    with Reader(database) as reader:
        figures = reader.figures(finished.id)
    code, math = figures["code"], figures["math"]
    spans_by_task = TimeSpans({}, {}, ())
    each = replace(code, rounds=0, tokens=0, accepted_count=0, draft_ms=0.0, verify_ms=0.0, other_ms=0.0)
    other = replace(math, rounds=0, tokens=0, accepted_count=0, draft_ms=0.0, verify_ms=0.0, other_ms=0.0)
    for step in range(20_000):
        each = replace(
            each,
            rounds=each.rounds + 10,
            tokens=each.tokens + 20 + step // 100,
            draft_ms=(each.draft_ms or 0.0) + 5.0,
        )
        if step % 50 == 0:
            other = replace(
                other,
                rounds=other.rounds + 10,
                tokens=other.tokens + 20,
                verify_ms=(other.verify_ms or 0.0) + 9.0,
            )
        assert spans_by_task.grow({"code": each, "math": other})
        assert len(spans_by_task.spans("code")) <= MOST
    spans = spans_by_task.spans("code")
    assert len(spans) > FINENESS / 2
    assert sum(s.rounds for s in spans) == each.rounds
    assert sum(s.ms for s in spans) == pytest.approx(each.total_ms)
    assert max(s.end - s.start for s in spans) <= spans_by_task.total_ms / FINENESS
    assert all(a.end <= b.start + 1e-6 for a, b in pairwise(spans))
    # Ever more tokens in the same time: that is what is drawn, at the right height.
    speeds = [p.value for p in speed.CHART.points(source_of(each, None, spans, spans_by_task.total_ms))]
    assert speeds[0] == pytest.approx(1000 * 21 / 5, rel=0.05)
    assert speeds[-1] == pytest.approx(1000 * 219 / 5, rel=0.05)


def test_sources_without_anything_have_no_points() -> None:
    assert all(side.points(together([])) == [] for chart in all_charts() for side in chart.sides)


async def test_charts_follow_each_other(database: Path, finished: Recording) -> None:
    app = app_for(database, finished.id)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = live_screen(pilot)
        first = screen.query_one("#lengths-view", Histogram)
        await wait_for(pilot, lambda: first._sources)
        seen = []
        for _ in all_charts():
            seen.append((first.chart, first.text))
            await pilot.press("h")
        assert [chart for chart, _ in seen] == list(all_charts())
        assert len({text for _, text in seen}) == len(all_charts())
        assert first.chart is length.CHART
        await pilot.press("H")
        assert first.chart is all_charts()[-1]


async def test_without_probabilities_a_chart_says_so(database: Path) -> None:
    recording = Recording(database, draft_probabilities=False)
    recording.begin()
    recording.prompt(tokens=30)
    recording.end()
    app = app_for(database, recording.id)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = live_screen(pilot)
        first = screen.query_one("#lengths-view", Histogram)
        await wait_for(pilot, lambda: first._sources)
        await pilot.press("h", "h")
        assert "no draft probabilities" in first.text
        await pilot.press("z")
        await wait_for(pilot, lambda: isinstance(app.screen, ChartScreen))
        await wait_for(pilot, lambda: "Nothing to read" in app.screen.query_one("#reading", Rows).text)


async def test_the_whole_screen_reads_values_and_hides_tasks(database: Path, finished: Recording) -> None:
    app = app_for(database, finished.id)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = live_screen(pilot)
        await wait_for(pilot, lambda: screen.query_one("#lengths-view", Histogram)._sources)
        await pilot.press("3", "3", "enter")
        await wait_for(pilot, lambda: isinstance(app.screen, ChartScreen))
        zoomed = app.screen
        assert isinstance(zoomed, ChartScreen)
        plot, reading = zoomed.query_one(Plot), zoomed.query_one("#reading", Rows)
        await wait_for(pilot, lambda: len(plot.reading()) == 4)
        assert "0 accepted" in reading.text
        await pilot.press("right", "right")
        assert "2 accepted" in reading.text
        await pilot.press("home", "left")
        assert "0 accepted" in reading.text
        await pilot.hover(Plot, offset=(plot.size.width - 3, 5))
        assert "3 accepted" in reading.text
        await pilot.press("1", "2", "3")
        assert [series.name for series, _ in plot.reading()] == ["chat"]
        assert "█" in plot.text  # one series is drawn as bars
        assert "code off" in zoomed.query_one("#head", Line).text
        await pilot.press("0", "h", "h")
        assert zoomed.chart is entropy.CHART
        assert len(plot.reading()) == 8
        await pilot.press("escape")
        assert app.screen is screen


async def test_a_plot_sends_few_rows_for_a_step(database: Path, finished: Recording) -> None:
    app = app_for(database, finished.id)
    async with app.run_test(size=(120, 40)) as pilot:
        await wait_for(pilot, lambda: live_screen(pilot).query_one("#lengths-view", Histogram)._sources)
        await pilot.press("z")
        await wait_for(
            pilot, lambda: isinstance(app.screen, ChartScreen) and app.screen.query_one(Plot).place
        )
        plot = app.screen.query_one(Plot)
        before = plot.rows
        await pilot.press("right")
        assert sum(a != b for a, b in zip(before, plot.rows, strict=True)) == 1


TOY = '''
"""The number of rounds."""

from spectui.tui.charts.base import Chart, Point, Side

CHART = Chart(
    name="toy",
    place=7,
    title="a toy chart",
    note="how many rounds",
    help="a chart that a test adds",
    across="toys",
    up="rounds",
    sides=(
        Side(lambda source: [Point(0, 1, float(source.rounds), "the only toy", f"{source.rounds} rounds")]),
    ),
)
'''


@pytest.fixture
def toy_chart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One more module in the folder of charts, and nothing else."""
    (tmp_path / "toy.py").write_text(TOY)
    monkeypatch.setattr(charts, "__path__", [*charts.__path__, str(tmp_path)])
    all_charts.cache_clear()
    yield
    monkeypatch.undo()
    sys.modules.pop("spectui.tui.charts.toy", None)
    all_charts.cache_clear()


async def test_a_chart_is_one_file(toy_chart: None, database: Path, finished: Recording) -> None:
    """A pane, the whole screen, copying, a comparison and the help have it."""
    other = Recording(database, name="other", prompts=2)
    other.begin()
    other.prompt(tokens=20)
    other.end()
    app = app_for(database, finished.id)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = live_screen(pilot)
        pane = screen.query_one("#lengths-view", Histogram)
        await wait_for(pilot, lambda: pane._sources)
        await pilot.press("H")
        assert screen.query_one("#lengths").border_title == "a toy chart"
        assert "█" in pane.text
        await pilot.press("z")
        await wait_for(pilot, lambda: isinstance(app.screen, ChartScreen))
        await wait_for(pilot, lambda: "the only toy" in app.screen.query_one("#reading", Rows).text)
        copied: list[str] = []
        app.screen.copy_text = copied.append  # type: ignore[attr-defined]
        await pilot.press("y")
        assert "the only toy" in copied[0]
        await pilot.press("question_mark")
        await wait_for(pilot, lambda: "a chart that a test adds" in app.screen.query_one(Rows).text)
        await pilot.press("escape", "escape")
        app.push_screen(CompareScreen(database, {finished.id: "quiet-heron", other.id: "other"}))
        await wait_for(pilot, lambda: isinstance(app.screen, CompareScreen))
        await pilot.press("H")
        await wait_for(pilot, lambda: "the only toy" in app.screen.query_one("#reading", Rows).text)
