"""Protects advice from kept costs that were measured while something else had the machine."""

from __future__ import annotations

from json import loads
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from spectui.decoding.trees.advise.positions import Rounds
from spectui.decoding.trees.advise.prices import ESTIMATED, MEASURED, Priced, prices_of
from spectui.decoding.trees.costs import Costs, to_json
from spectui.store.rows import SessionSummary
from tests.decoding.trees.test_advice_truth import MACHINE, costs, exactly

TRUE = costs()
"""A forward of n rows takes 20 + n ms, a level 2 ms."""


def session(kept: Costs | None, *, slower: float = 1.0, plain_known: bool = True) -> Priced:
    """Prices of a session of 60 rounds of 3 to 7 nodes, whose true costs are `TRUE` times `slower`."""
    rng = np.random.default_rng(0)
    sizes = rng.integers(3, 8, 60)
    depths = np.concatenate([np.minimum(np.arange(1, size + 1), 4) for size in sizes])
    verify = np.array([TRUE.verify_ms(int(size) + 1) for size in sizes])
    draft = np.array([TRUE.draft_ms(min(int(size), 4)) for size in sizes])
    noise = slower * np.exp(rng.normal(scale=0.03, size=60))
    rounds = SimpleNamespace(
        prompt=np.zeros(60, np.int64),
        nodes=SimpleNamespace(round=np.repeat(np.arange(60), sizes), depth=depths),
        verify_ms=verify * noise,
        draft_ms=draft * noise,
        other_ms=np.full(60, slower),
    )
    rounds.verify_ms[3] *= 40  # something held it up
    mean = float((rounds.verify_ms + rounds.draft_ms + rounds.other_ms).mean())
    usual = float((verify + draft + 1).mean())
    plain = mean * TRUE.round_ms(0, 0) / usual
    summary = SimpleNamespace(
        name="s",
        costs=None if kept is None else loads(to_json(kept)),
        rounds=60,
        total_ms=60 * mean,
        baseline_ms=plain,
        plain_ms=plain if plain_known else None,
        baseline_low_ms=0.97 * plain,
        baseline_high_ms=1.03 * plain,
        target="t",
        drafter="d",
        device="cpu",
        devices=1,
        versions={},
    )
    return prices_of(cast(SessionSummary, summary), cast(Rounds, rounds))


def test_costs_that_agree_with_the_session_stay() -> None:
    priced = session(TRUE, slower=1.1)
    assert priced.source == MEASURED
    assert priced.costs.verify == TRUE.verify


def test_a_machine_that_was_slow_while_costs_were_measured_is_noticed() -> None:
    """Three times as slow with many rows, twice with one: so the plain rate, and every speed-up, was off by half."""
    kept = costs({1: 2.0, 2: 2.3, 4: 2.6, 8: 3.0, 16: 3.4})
    kept = Costs(MACHINE, kept.verify, {1: exactly(5.0), 4: exactly(20.0)}, exactly(3.0), 100, "")
    wrong = kept.round_ms(0, 0) / kept.round_ms(7, 4)
    right = TRUE.round_ms(0, 0) / TRUE.round_ms(7, 4)
    assert wrong < 0.75 * right
    priced = session(kept)
    assert "fitted to this session's rounds, which took 0.3" in priced.source
    fitted = priced.costs
    assert fitted.round_ms(0, 0) / fitted.round_ms(7, 4) == pytest.approx(right, rel=0.05)
    assert fitted.round_ms(7, 4) == pytest.approx(TRUE.round_ms(7, 4), rel=0.06)


def test_without_a_known_plain_rate_the_curve_keeps_its_shape() -> None:
    kept = costs(dict.fromkeys((1, 2, 4, 8, 16), 3.0))
    fitted = session(kept, plain_known=False).costs
    shape = [timing.median / fitted.verify[1].median for timing in fitted.verify.values()]
    assert shape == pytest.approx([timing.median / kept.verify[1].median for timing in kept.verify.values()])


def test_a_session_without_kept_costs_knows_its_plain_rate_as_well_as_it_was_measured() -> None:
    known, unknown = session(None), session(None, plain_known=False)
    assert known.source == unknown.source == ESTIMATED
    spread = [float(priced.factors(0, 0).std()) for priced in (known, unknown)]
    assert spread[0] < 0.06 < 0.15 < spread[1]
