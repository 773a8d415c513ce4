"""Protects: what should be looked at is said, once an hour, with what to do; and garbled counters never raise."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from spectui.servers.metrics import PageError, read_page
from spectui.servers.watch.events import Alerts
from spectui.servers.watch.figures import Figures
from spectui.servers.watch.fleet import Fleet
from spectui.servers.watch.server import Watched
from spectui.tui.watching import panes
from spectui.tui.watching.figures import figure_rows
from tests.servers.watch.simulated import Setup, Simulated
from tests.servers.watch.test_metrics import page

SLOW = Setup(depth=3, survives=(0.8, 0.6, 0.5), step_ms=200.0, request_ms=5.0, draft_ms=40.0, node_ms=2.0)


def feed(watched: list[Watched], servers: list[Simulated], minutes: int) -> None:
    """So many minutes of samples, and a look for alerts after each."""
    fleet = Fleet(watched)
    for _ in range(minutes * 4):
        for one, server in zip(watched, servers, strict=True):
            server.run(15.0)
            one.take(read_page(server.vllm(), server.now))
        now = servers[0].now
        for one in watched:
            one.look_for_alerts(now, fleet.plain_for(one))


def alerts(watched: Watched) -> list[str]:
    return [event.text for event in watched.events if event.alert]


def test_tokens_a_round_below_those_of_each_minute_before_are_an_alert_once() -> None:
    watched, server = Watched("http://gpu:1", "gpu:1"), Simulated(SLOW)
    feed([watched], [server], 25)
    assert alerts(watched) == []
    server.setup = replace(SLOW, survives=(0.3, 0.3, 0.3))  # other traffic
    feed([watched], [server], 15)
    (text,) = alerts(watched)
    assert text.startswith("τ fell 2.4")
    assert "below each of the" in text


def test_minutes_of_another_load_are_no_measure_where_polls_alone_tell_it() -> None:
    """SGLang's pages have no mean load: it is that of the polls, which a sum of minutes has to keep."""

    def minute(number: int, running: float, tokens: float) -> Figures:
        begin = 60.0 * number
        return Figures(begin, begin + 60, "sglang", running=running, rounds=200.0, tokens=200 * tokens)

    busier = [minute(i, 4.0, 3.0) for i in range(30)] + [minute(30 + i, 40.0, 2.0) for i in range(5)]
    assert Alerts().look(9e3, busier, None, None) == []
    alike = [minute(i, 40.0, 3.0) for i in range(30)] + busier[30:]
    assert [event.kind for event in Alerts().look(9e3, alike, None, None)] == ["fell"]


def test_a_quarter_of_an_hour_in_which_speculation_costs_is_an_alert_and_a_slow_drafter_alone_is_none() -> (
    None
):
    costly = replace(SLOW, survives=(0.2, 0.1, 0.1), draft_ms=300.0)
    servers = [Simulated(costly), Simulated(replace(SLOW, depth=0, survives=()), seed=1)]
    pair = [Watched(f"http://gpu:{port}", f"gpu:{port}") for port in (1, 2)]
    feed(pair, servers, 18)
    (text,) = alerts(pair[0])
    assert text.startswith("costs more than it brings: 0.")
    assert alerts(pair[1]) == []
    alone = Watched("http://gpu:3", "gpu:3")
    feed([alone], [Simulated(costly)], 18)
    assert alerts(alone) == []  # plain decoding is not known: waste is no verdict


def test_after_a_restart_the_new_start_is_held_against_the_one_before() -> None:
    watched = Watched("http://gpu:1", "gpu:1")
    first = Simulated(SLOW)
    feed([watched], [first], 6)
    second = Simulated(replace(SLOW, depth=1, survives=(0.8,)), started=first.now)
    feed([watched], [second], 6)
    kinds = [event.kind for event in watched.events]
    assert kinds == ["watching", "restart", "compared"]
    assert watched.events[1].text == "restarted: k 3 → 1; a new segment"
    assert watched.events[2].text.startswith("since the restart: k 3 → 1, ")
    earlier = watched.view(second.now).payoff
    assert earlier.verdict == "?"  # another drafter is no plain decoding


def test_between_two_looks_for_alerts_nothing_is_worked_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked once a second, under the lock that the poller needs."""
    watched, server = Watched("http://gpu:1", "gpu:1"), Simulated(SLOW)
    fleet, looks = Fleet([watched]), 0

    def count() -> None:
        nonlocal looks
        looks += 1

    monkeypatch.setattr(watched, "plain", count)
    for _ in range(180):
        server.run(1.0)
        watched.take(read_page(server.vllm(), server.now))
        monkeypatch.setattr(fleet, "clock", lambda: server.now)
        fleet.look_for_alerts()
    assert looks <= 4


def test_the_speed_over_time_ends_with_the_speed_of_the_status_line() -> None:
    """llama.cpp counts a request's tokens when it ends: the last stretch held all of them, 127 tok/s beside 8."""
    watched, first = Watched("http://cpu:1", "cpu:1"), read_page(page("llamacpp-metrics-eagle3"), 1000.0)
    assert first.generated
    assert first.rounds
    for at, requests in enumerate((1, 1, 9)):
        generated, rounds = requests * first.generated, requests * first.rounds
        watched.take(replace(first, at=1000.0 + 20 * at, live_rate=8.0, generated=generated, rounds=rounds))
    view = watched.view(1041.0)
    (speed,) = [row for row in panes.course_rows(view, 70) if row[0][0].strip() == "tok/s"]
    assert speed[1][0].strip() == "8"
    assert "8 tok/s" in panes.live_cells(view, 70)[0][0]


def test_no_garbled_page_is_more_than_a_line() -> None:
    """Values of other sizes, lines that are missing, doubled or of others: a view of them is drawn or refused."""
    draw = random.Random(5)
    names = ("vllm-metrics-eagle3", "vllm-metrics-none", "llamacpp-metrics-eagle3")
    pages = [page(name).splitlines() for name in names]
    values = ("0", "1", "-1", "1e308", "NaN", "+Inf", "x", "", "1e-308", "18446744073709551616")
    refusals: list[str] = []
    for round_ in range(60):
        watched = Watched("http://gpu:1", "gpu:1")
        for at in range(3):
            lines = list(draw.choice(pages if round_ % 3 else pages[:1]))
            for _ in range(draw.randrange(1, 60)):
                place = draw.randrange(len(lines))
                name = lines[place].rpartition(" ")[0]
                lines[place] = draw.choice(
                    (f"{name} {draw.choice(values)}", "", lines[draw.randrange(len(lines))])
                )
            try:
                watched.take(read_page("\n".join(lines) + "\n", 1000.0 + at))
            except PageError as error:
                refusals.append(str(error))
        view = watched.view(1003.0)
        for width, height in ((77, 12), (20, 3)):
            panes.pay_rows(view, width)
            panes.position_rows(view, width, height)
            panes.length_rows(view, width, height)
            panes.course_rows(view, width)
            panes.serving_rows(view, width)
            panes.live_cells(view, width)
            panes.state_cells(view, 1.0, width, "")
            figure_rows(view, width)
    assert not any("\n" in words for words in refusals)
    assert 20 < len(refusals) < 160  # of 180 pages: both kinds are tried
