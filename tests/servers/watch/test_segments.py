"""Protects: a restart begins a segment, two servers behind one address are seen, and growth is neither."""

from __future__ import annotations

from dataclasses import replace

import pytest

from spectui.servers.watch.figures import added
from spectui.servers.watch.history import History
from spectui.servers.watch.segments import Segments
from spectui.servers.watch.server import Watched
from spectui.store.samples import Sample


def llama(at: float, generated: float) -> Sample:
    """A sample without a start time, as llama.cpp's."""
    n = generated
    return Sample(at, "llama.cpp", decode_s=n / 10, drafts=n / 2, generated=n, tokens=n, rounds=n)


def vllm(at: float, generated: float, mark: float) -> Sample:
    return replace(llama(at, generated), engine="vllm", mark=mark)


def steps(samples: list[Sample]) -> list[str]:
    segments = Segments()
    return [segments.take(sample) for sample in samples]


def test_growth_and_rest_are_one_segment() -> None:
    assert steps([llama(0, 5), llama(1, 5), llama(2, 90)]) == ["first", "same", "same"]


def test_a_counter_that_fell_is_a_restart() -> None:
    assert steps([llama(0, 50), llama(1, 3), llama(2, 60)]) == ["first", "restart", "same"]


def test_a_restart_that_caught_up_is_seen_by_its_start_time() -> None:
    assert steps([vllm(0, 50, 1.0), vllm(100, 800, 2.0)]) == ["first", "restart"]


@pytest.mark.parametrize("make", [lambda at, n, _: llama(at, n), vllm], ids=["counters alone", "start times"])
def test_two_servers_that_answer_in_turn_are_seen_and_rates_held(make) -> None:  # type: ignore[no-untyped-def]
    """Rates between their counters would be made up."""
    samples = [make(at, 100 + at if at % 2 else 40 + at, float(at % 2)) for at in range(12)]
    seen = steps(samples)
    assert seen[-1] == "mixed"
    history = History()
    for sample in samples:
        history.take(sample)
    assert history.segments.mixed


def test_one_that_answers_alone_again_begins_a_segment() -> None:
    history = History()
    for at in range(10):
        history.take(llama(at, 100 + at if at % 2 else 40 + at))
    for at in range(10, 90):
        history.take(llama(at, 200 + at))
    assert not history.segments.mixed
    assert history.segments.take(llama(90, 290)) == "same"


def test_a_server_that_is_started_twice_is_not_two() -> None:
    assert steps([vllm(0, 50, 1.0), vllm(5, 3, 2.0), vllm(30, 2, 3.0), vllm(31, 9, 3.0)]) == [
        "first",
        "restart",
        "restart",
        "same",
    ]


def test_old_samples_are_fewer_and_their_minutes_the_same() -> None:
    history, whole = History(), History(thin=False)
    for at in range(0, 3000):
        for one in (history, whole):
            one.take(llama(float(at), at * 3.0))
    assert len(history.of_segment(1)) < 1000 < len(whole.of_segment(1))
    assert [one.tokens for one in history.minutes()] == [one.tokens for one in whole.minutes()]
    assert sum(one.generated or 0 for one in history.minutes()) == 2999 * 3


def test_what_is_older_than_a_day_is_coarser_and_not_gone() -> None:
    """A/B by restart: the plain segment of yesterday is what today's speculation is held against."""
    watched = Watched("http://gpu:1", "gpu:1")
    recorded = Watched("http://gpu:1", "gpu:1", history=History(thin=False))
    for step in range(30 * 20):
        plain = step < 40
        n = (step if plain else step - 40) * 600.0
        sample = replace(
            vllm(step * 180.0, n, float(plain)), speculative=not plain, decode_tokens=n, running=2
        )
        for one in (watched, recorded):
            one.take(sample)
    assert len(watched.history.of_segment(1)) <= 4
    assert len(recorded.history.of_segment(1)) == 40
    for one in (watched, recorded):
        earlier = one.earlier_plain()
        assert earlier is not None
        whole = added(list(earlier.slices))
        assert whole is not None
        assert (whole.tokens, earlier.slices[0].load) == (39 * 600.0, 2)
        assert sum(figures.tokens or 0 for figures in one.history.minutes()) == (28 * 20 - 1) * 600.0
        assert one.view(0.0, plain=earlier).payoff.verdict == "EVEN"
