"""Protects: whatever answers at an address, a watch says in one line what it is, and goes on."""

from __future__ import annotations

import itertools
import json
import os
import socket
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from spectui.decoding.errors import UsageError
from spectui.servers.metrics import read_page
from spectui.servers.watch.clock import Clock
from spectui.servers.watch.export import exposition
from spectui.servers.watch.fleet import LiveFleet, read_servers
from spectui.servers.watch.poller import BOUNDS, Poller
from spectui.servers.watch.server import MOST_UNSAVED, Watched
from spectui.store.database import connect
from spectui.store.errors import StoreError
from spectui.store.reading.reader import Reader
from spectui.store.samples import Sample
from spectui.tui.watching.recorder import Recorder, _Recording
from tests.servers.watch.fake import SETUPS, Answer, FakeServer, page, simulated
from tests.servers.watch.simulated import Setup, Simulated
from tests.servers.watch.test_metrics import page as recorded_page
from tests.store.writing.test_patience import Failing


def asked(server: FakeServer, times: int = 1) -> Watched:
    watched = Watched(server.url, "gpu:1")
    poller = Poller(watched)
    for _ in range(times):
        poller.poll()
    return watched


def words(answer: Answer | None) -> str:
    with FakeServer(lambda _: answer) as server:
        view = asked(server).view(0.0)
        assert not view.answers
        assert "\n" not in view.words
        return view.words


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((200, "text/html", "<!DOCTYPE html><title>x</title>"), "a web page (HTML)"),
        ((200, "application/json", "{}"), "is JSON"),
        (page("# TYPE node_load1 gauge\nnode_load1 0.3\nnode_x 1\n"), "another program ('node' ...)"),
        (page("vllm:generation_tokens_total{ 1\n"), "garbled"),
        (page(""), "is empty"),
        ((404, "text/plain", "no"), "answers, but has no /metrics: start it with --metrics"),
        ((401, "application/json", '{"error": "bad key"}'), "bad key; name the variable that has the key"),
        ((503, "text/plain", "loading"), "503"),
        (None, "broke off"),
    ],
    ids=["html", "json", "foreign", "garbled", "empty", "404", "401", "503", "cut"],
)
def test_what_answers_is_named(answer: Answer | None, said: str) -> None:
    assert said in words(answer)


def test_a_page_that_breaks_the_reader_is_said_and_the_asking_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The thread would die without a word, and its last figures stay those of now."""

    def broken(text: str, at: float) -> Sample:
        raise RecursionError("too deep")

    monkeypatch.setattr("spectui.servers.watch.poller.read_page", broken)
    assert "its answer cannot be read: RecursionError: too deep" in words(page("vllm:x 1\n"))


def test_a_position_of_thousands_of_digits_is_none() -> None:
    """Python refuses to read such a number."""
    name = "vllm:spec_decode_num_accepted_tokens_per_pos_total"
    text = f'{name}{{position="0"}} 5\n{name}{{position="{"1" * 5000}"}} 4\n'
    assert read_page(text, 1.0).by_position == (5.0,)


def test_a_page_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spectui.servers.watch.poller.BOUNDS", replace(BOUNDS, most_bytes=200_000))
    assert "answers with more than 0 MB" in words(page("x" * 300_000))


def test_a_server_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spectui.servers.watch.poller.BOUNDS", replace(BOUNDS, silent_seconds=0.2))
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        watched = Watched(f"http://127.0.0.1:{listening.getsockname()[1]}", "gpu:1")
        Poller(watched).poll()
    assert "silent" in watched.view(0.0).words


def test_tls_to_a_server_without_it_is_named() -> None:
    with FakeServer(lambda _: page("")) as server:
        watched = Watched(server.url.replace("http:", "https:"), "gpu:1")
        Poller(watched).poll()
    view = watched.view(0.0)
    assert view.state == "foreign"
    assert "TLS" in view.words


def test_no_server_is_silent_and_its_figures_stay_dated() -> None:
    with (
        socket.socket() as keeps_port
    ):  # bound, but it never listens: nobody else is given the number meanwhile
        keeps_port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        keeps_port.bind(("127.0.0.1", 0))
        _watch_one_that_goes_and_comes_back(keeps_port.getsockname()[1])


def _watch_one_that_goes_and_comes_back(port: int) -> None:
    with FakeServer(simulated("vllm", SETUPS["eagle"], before_s=60.0), port) as server:
        watched = Watched(server.url, "gpu:1")
        poller = Poller(watched)
        assert poller.poll()
    for _ in range(2):  # the first finds the connection closed
        poller.poll()
    assert watched.history.last is not None
    view = watched.view(watched.history.last.at + 72)
    assert (view.state, view.answers) == ("silent", False)
    exported = exposition([view])
    assert f'spectui_watch_up{{model="m",server="{server.url}"}} 0.0' in exported
    assert "spectui_watch_tokens_per_round{" not in exported
    assert view.sample is not None  # the last figures, for the screen to draw dimmed
    assert "refused" in view.words
    assert [event.kind for event in view.events] == ["watching", "silent"]
    with FakeServer(simulated("vllm", SETUPS["eagle"]), port):
        assert poller.poll()
    assert watched.view(0.0).answers
    assert [event.kind for event in watched.events][-2:] == ["back", "restart"]


def test_two_servers_behind_one_address_are_said_and_no_rates() -> None:
    first, second = (
        simulated("vllm", SETUPS[name], before_s=age) for name, age in (("eagle", 90.0), ("plain", 40.0))
    )
    turns = itertools.cycle((first, second))

    def answer(path: str) -> Answer | None:
        return next(turns)(path) if path == "/metrics" else first(path)

    with FakeServer(answer) as server:
        view = asked(server, 8).view(0.0)
    assert (view.state, view.answers) == ("mixed", False)
    assert f'up{{model="m",server="{server.url}"}} 0.0' in exposition([view])
    assert "two servers answer here" in view.words
    assert (view.figures, view.payoff.speedup) == (None, None)
    assert sum(event.kind == "mixed" for event in view.events) == 1


def test_two_servers_behind_one_address_are_not_asked_about_themselves_each_time() -> None:
    pages = [simulated("vllm", SETUPS["eagle"], before_s=age) for age in (90.0, 40.0)]
    turns, about = itertools.cycle(pages), list[str]()

    def answer(path: str) -> Answer | None:
        if path == "/metrics":
            return next(turns)(path)
        about.append(path)
        return pages[0](path)

    with FakeServer(answer) as server:
        watched = Watched(server.url, "gpu:1")
        poller = Poller(watched)
        while watched.view(0.0).state != "mixed":
            poller.poll()
        about.clear()
        for _ in range(5):
            poller.poll()
    assert about == []


def test_slots_that_llama_cpp_does_not_have_are_asked_for_once() -> None:
    slow, slots = Simulated(Setup(depth=3, survives=(0.5, 0.5, 0.5))), list[str]()
    slow.run(30.0)

    def answer(path: str) -> Answer | None:
        if path == "/slots":
            slots.append(path)
            return 501, "application/json", '{"error": "start it with --slots"}'
        return page(slow.llama()) if path == "/metrics" else (404, "", "")

    with FakeServer(answer) as server:
        watched = Watched(server.url, "gpu:1")
        poller = Poller(watched)
        poller._ask_about = lambda: None  # type: ignore[method-assign]
        for _ in range(4):
            poller.poll()
    assert slots == ["/slots"]


def test_what_nobody_records_is_not_kept_for_ever() -> None:
    watched = Watched("http://gpu:1", "gpu:1")
    for second in range(MOST_UNSAVED + 100):
        watched.take(Sample(at=float(second), engine="vllm", generated=1.0))
    assert len(watched.unsaved()[0]) == MOST_UNSAVED
    assert watched.unsaved() == ([], [])


def test_a_database_that_cannot_be_opened_stops_neither_export_nor_turns(tmp_path: Path) -> None:
    turns = list[int]()
    with FakeServer(simulated("vllm", SETUPS["eagle"], before_s=60.0)) as server:
        fleet = LiveFleet(read_servers([server.url]))
        fleet.ask_all()
        out = tmp_path / "x.prom"
        with Recorder(fleet, tmp_path, export=out, on_turn=lambda: turns.append(1)) as recorder:
            pass  # the last turn comes at the end
    assert turns
    assert "spectui_watch_up" in out.read_text(encoding="utf-8")
    assert recorder.trouble.startswith("not recorded: ")


def test_a_watch_whose_first_writes_fail_is_one_session_at_work(tmp_path: Path) -> None:
    """A full disk or a lock may stop any statement of its beginning."""
    watched = Watched("http://gpu:1", "gpu:1")
    for fail_at in itertools.count(1):
        path = tmp_path / f"{fail_at}.db"
        connect(path).close()
        with closing(sqlite3.connect(path, isolation_level=None, factory=Failing)) as db:
            recording = _Recording(watched, "g", 1.0)
            watched.take(Sample(at=float(fail_at), engine="vllm", generated=float(fail_at)))
            db.fail_at, db.error = fail_at, "SQLITE_FULL"
            try:
                recording.save(db)
            except StoreError:
                recording.save(db)
            else:
                break
            (session,) = Reader(db).sessions()
            assert (session.status, session.pid) == ("running", os.getpid())
    assert fail_at > 10


def test_a_clock_that_differs_is_said_once() -> None:
    date = "Mon, 01 Jan 2024 00:00:00 GMT"
    with FakeServer(simulated("vllm", SETUPS["eagle"]), date=date) as server:
        watched = asked(server, 3)
    (event,) = (event for event in watched.events if event.kind == "clock")
    assert "behind ours" in event.text


def test_a_machine_that_slept_or_whose_clock_was_put_right_goes_on_by_one_clock() -> None:
    """Pollers and views have the same one: an age is never of two."""
    wall, steady = [1000.0], [5.0]
    clock = Clock(lambda: wall[0], lambda: steady[0])
    wall[0], steady[0] = 1012.0, 15.0  # drifts
    assert clock() == 1010
    wall[0] += 3600  # asleep, which monotonic time does not count
    assert clock() == 4612
    wall[0], steady[0] = 500.0, 16.0  # put back: rates need time that does not
    assert clock() == 4613
    fleet = LiveFleet(read_servers(["http://gpu:1", "http://gpu:2"]))
    assert {poller._clock for poller in fleet.pollers} == {fleet.clock}


@pytest.mark.parametrize("name", ["vllm-metrics-eagle3", "vllm-metrics-none", "llamacpp-metrics-eagle3"])
def test_recorded_pages_are_watched(name: str) -> None:
    with FakeServer(
        lambda path: page(recorded_page(name)) if path == "/metrics" else (404, "", "")
    ) as server:
        view = asked(server, 2).view(0.0)
    assert view.answers
    assert view.page_bytes == len(recorded_page(name))


@pytest.mark.parametrize(
    ("known", "speed"), [(True, 50), (False, None)], ids=["slots that count", "slots that do not"]
)
def test_llama_cpp_is_live_by_its_slots(known: bool, speed: float | None) -> None:
    """Its counters stand still until a request ends; a speed that no slot tells is none, not 0."""
    decoded = iter((10, 40, 90))
    slow = Simulated(Setup(depth=3, survives=(0.5, 0.5, 0.5)))
    slow.run(30.0)

    def answer(path: str) -> Answer | None:
        if path == "/metrics":
            return page(slow.llama())
        slot = {
            "is_processing": True,
            "id_task": 4,
            "speculative": True,
            "next_token": [{"n_decoded": next(decoded)}] if known else [],
        }
        return (200, "application/json", json.dumps([slot])) if path == "/slots" else (404, "", "")

    clock = iter((100.0, 101.0, 102.0))
    with FakeServer(answer) as server:
        watched = Watched(server.url, "gpu:1")
        poller = Poller(watched, clock=lambda: next(clock))
        poller._ask_about = lambda: None  # type: ignore[method-assign]
        for _ in range(3):
            poller.poll()
    sample = watched.view(102.0).sample
    assert sample is not None
    assert sample.running == 1
    assert sample.live_rate == speed


def test_the_key_is_sent_and_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", "sk-secret-1")
    with FakeServer(lambda _: (401, "application/json", '{"error": "sk-secret-1 is wrong"}')) as server:
        watched = Watched(server.url, "gpu:1")
        Poller(watched, "A_KEY").poll()
    assert "sk-secret-1" not in watched.view(0.0).words


@pytest.mark.parametrize(
    ("urls", "said"),
    [
        (["not a url"], "no URL"),
        (["ftp://gpu:1"], "http://"),
        (["http://user:pw@gpu:1"], "--api-key-env"),
        (["http://gpu:8000", "gpu:8000/metrics"], "named twice"),
        ([f"http://gpu:{port}" for port in range(1, 80)], "too many"),
    ],
)
def test_addresses_that_are_none_are_refused(urls: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        read_servers(urls)


def test_a_server_is_named_as_addresses_are_written() -> None:
    assert [server.name for server in read_servers(["http://[::1]:8000/llm", "gpu:8000"])] == [
        "[::1]:8000/llm",
        "gpu:8000",
    ]


def test_each_is_held_against_what_suits_it(tmp_path: Path) -> None:
    setups = {name: replace(setup, step_ms=60.0) for name, setup in SETUPS.items()}
    made: list[Callable[[str], Answer | None]] = [
        simulated("vllm", setups["eagle"], before_s=240.0),
        simulated("vllm", setups["plain"], before_s=240.0),
        simulated("sglang", setups["eagle"], before_s=240.0),
    ]

    def served() -> Iterator[FakeServer]:
        for answer in made:
            yield FakeServer(answer).__enter__()

    servers = list(served())
    fleet = LiveFleet(read_servers([server.url for server in servers]))
    fleet.ask_all()
    fleet.ask_all()
    eagle, plain, sglang = fleet.views(columns=0)
    assert (eagle.payoff.verdict, eagle.payoff.since_start) == ("YES", True)
    assert eagle.payoff.plain_source == plain.name
    assert plain.state == "plain"
    assert sglang.payoff.verdict == "?"  # another engine: only where somebody chooses it
    fleet.chosen[sglang.url] = plain.url
    assert fleet.views(columns=0)[2].payoff.speedup is not None
    fleet.chosen.clear()
    fleet.servers[1].reference = True  # as with --baseline-server, whatever its engine and model
    assert fleet.views(columns=0)[2].payoff.plain_source == plain.name
    for server in servers:
        server.__exit__()
