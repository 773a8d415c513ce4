"""Protects the answer whether speculation pays: it is the one that clients measured with and without it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import pytest

from spectui.servers.metrics import read_page
from spectui.servers.watch.history import History
from spectui.servers.watch.payoff import Payoff, Plain, payoff
from spectui.servers.watch.server import Watched
from tests.servers.watch.simulated import Setup, Simulated

EAGLE = Setup(depth=3, survives=(0.65, 0.5, 0.5))
NGRAM = Setup(depth=3, survives=(0.55, 0.75, 0.4), drafts_share=0.17, draft_ms=80.0)
SELF = Setup(depth=5, survives=(1.0,) * 5, draft_ms=200.0)
PAGES: dict[str, Callable[[Simulated], str]] = {
    "vllm": Simulated.vllm,
    "llama.cpp": Simulated.llama,
    "sglang": Simulated.sglang,
}


def plainly(setup: Setup) -> Setup:
    """The same model, machine and traffic without speculation."""
    return replace(setup, depth=0, survives=())


@cache
def watched(setup: Setup, seed: int = 1) -> tuple[Simulated, dict[str, History]]:
    """A server after four minutes, and what its pages told, by engine."""
    server = Simulated(setup, seed=seed)
    histories = {engine: History() for engine in PAGES}
    for _ in range(24):
        server.run(10.0)
        for engine, page in PAGES.items():
            histories[engine].take(read_page(page(server), server.now))
    return server, histories


def answer(setup: Setup, other: Setup, engine: str = "vllm") -> tuple[Payoff, float]:
    """The payoff that is told, and the ratio that the clients of both servers measured."""
    server, histories = watched(setup)
    plain_server, plain_histories = watched(other, 2)
    plain = Plain("other:8000", tuple(plain_histories[engine].minutes()))
    here = histories[engine]
    return payoff(here.minutes(), here.since_start(), plain), plain_server.true_ms / server.true_ms


@pytest.mark.parametrize("engine", [*PAGES])
@pytest.mark.parametrize("concurrency", [1, 4, 8])
@pytest.mark.parametrize(
    ("setup", "verdict"), [(EAGLE, "YES"), (NGRAM, "NO"), (SELF, "YES")], ids=["eagle", "ngram", "self"]
)
def test_the_answer_is_what_clients_measure(
    setup: Setup, verdict: str, concurrency: int, engine: str
) -> None:
    setup = replace(setup, concurrency=concurrency)
    result, truth = answer(setup, plainly(setup), engine)
    assert result.speedup == pytest.approx(truth, rel=0.05)
    assert result.speedup is not None
    assert result.verdict == verdict
    assert result.band is not None
    assert result.band[0] <= result.speedup <= result.band[1]


def test_rounds_tokens_and_times_are_those_of_the_server() -> None:
    server, histories = watched(replace(EAGLE, concurrency=4))
    figures = histories["vllm"].since_start()
    assert figures is not None
    assert figures.ms_per_token == pytest.approx(server.true_ms, rel=0.02)
    assert figures.load == pytest.approx(4, rel=0.02)
    assert figures.drafting == 1
    assert figures.tokens_per_draft == pytest.approx(1 + 0.65 + 0.65 * 0.5 + 0.65 * 0.25, rel=0.05)
    assert [place.accepted for place in figures.positions] == pytest.approx([0.65, 0.5, 0.5], rel=0.1)
    assert sum(figures.lengths) == figures.drafts == server.counts["drafts"]
    assert figures.lengths[3] == server.positions[2]


def test_a_share_of_rounds_drafts() -> None:
    for engine, histories in watched(replace(NGRAM, concurrency=1))[1].items():
        figures = histories.since_start()
        assert figures is not None
        if engine != "sglang":  # whose verifications are of all rounds
            assert figures.drafting == pytest.approx(0.17, rel=0.15)
            assert figures.tokens_per_draft is not None
            assert figures.tokens_per_round is not None
            assert figures.tokens_per_round < figures.tokens_per_draft


def test_a_position_pays_below_its_worth() -> None:
    """Truth: the time of a token without the last position is the same when it costs exactly its worth."""
    figures = watched(replace(EAGLE, concurrency=1))[1]["vllm"].since_start()
    assert figures is not None
    worth = figures.worth_ms(2)
    assert worth is not None
    assert figures.ms_per_round is not None
    assert figures.tokens_per_round is not None
    without = (figures.ms_per_round - worth) / (figures.tokens_per_round - figures.positions[2].of_all)
    assert without == pytest.approx(figures.ms_per_token)
    assert figures.worth_ms(3) is None


def test_without_plain_decoding_there_is_no_verdict_but_the_break_even() -> None:
    here = watched(replace(EAGLE, concurrency=1))[1]["vllm"]
    result = payoff(here.minutes(), here.since_start(), None)
    assert (result.verdict, result.speedup) == ("?", None)
    assert result.why == f"it pays if a plain step takes more than {result.ms_per_token:.1f} ms"


def test_a_baseline_that_speculates_is_said_to_be_none() -> None:
    server, baseline = Simulated(EAGLE), Watched("http://gpu:2", "gpu:2", reference=True)
    for _ in range(3):
        server.run(60.0)
        baseline.take(read_page(server.vllm(), server.now))
    view = baseline.view(server.now)
    assert view.payoff.verdict == "?"
    assert view.payoff.why == "no baseline while it speculates; start it without a draft"
    assert view.events[0].text.endswith("; no baseline while it speculates; start it without a draft")


def test_other_loads_are_not_compared() -> None:
    """A plain server that is idle would make any speculation under load look slow."""
    here = watched(replace(EAGLE, concurrency=8))[1]["vllm"]
    there = watched(plainly(replace(EAGLE, concurrency=1)), 2)[1]["vllm"]
    result = payoff(here.minutes(), here.since_start(), Plain("other:8000", tuple(there.minutes())))
    assert (result.verdict, result.speedup) == ("?", None)
    assert result.why == "the load differs: 8 requests at a time here, 1 at other:8000"


def test_the_loads_that_were_seen_on_both_are_compared_alone() -> None:
    one, eight = (plainly(replace(EAGLE, concurrency=n)) for n in (1, 8))
    plain = [*watched(one, 2)[1]["vllm"].minutes(), *watched(eight, 2)[1]["vllm"].minutes()]
    here, truth = watched(replace(EAGLE, concurrency=8))[1]["vllm"], watched(eight, 2)[0].true_ms
    result = payoff(here.minutes(), here.since_start(), Plain("other:8000", tuple(plain)))
    assert result.plain_ms == pytest.approx(truth, rel=0.05)
    assert result.loads is not None
    assert result.loads[0] > 7


def test_too_few_rounds_say_nothing() -> None:
    server, history = Simulated(EAGLE), History()
    for _ in range(5):
        server.run(1.0)
        history.take(read_page(server.vllm(), server.now))
    result = payoff(history.minutes(), history.since_start(), None)
    assert result.verdict == "?"
    assert re.fullmatch(r"\d+ rounds; a verdict needs 500 and 3 minutes", result.why)


def test_what_the_server_counted_before_stands_in_until_minutes_are_known() -> None:
    server, history = Simulated(EAGLE), History()
    server.run(300.0)
    history.take(read_page(server.vllm(), server.now))
    there = watched(plainly(EAGLE), 2)
    plain = Plain("other:8000", tuple(there[1]["vllm"].minutes()))
    result = payoff(history.minutes(), history.since_start(), plain)
    assert (result.verdict, result.since_start, result.band) == ("YES", True, None)
    assert result.speedup == pytest.approx(there[0].true_ms / server.true_ms, rel=0.05)
