"""The tree a run gets when it names none: the one with the most tokens per second, by exhaustive search."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from spectui.decoding.trees.candidates import SLACK, Candidate, RoundKind, best_tree, choose
from spectui.decoding.trees.costs import Costs, Machine, Timing
from spectui.decoding.trees.profile import AcceptanceProfile
from spectui.decoding.trees.search import expected_tokens
from spectui.decoding.trees.spec import parse_shape, parse_tree


def _costs(verify: dict[int, float], draft_level: float = 0.0, other: float = 0.0) -> Costs:
    def timing(ms: float) -> Timing:
        return Timing(ms, ms, ms, 5)

    machine = Machine("target", "drafter", "cpu", "float32", 2, "2.13")
    return Costs(
        machine,
        {n: timing(ms) for n, ms in verify.items()},
        {1: timing(draft_level)},
        timing(other),
        150,
        "now",
    )


FLAT = _costs({1: 40.0, 32: 40.0})
STEEP = _costs({1: 40.0, 32: 32 * 40.0})
RANKS = AcceptanceProfile(((0.4, 0.1, 0.05, 0.02),))

candidates = st.lists(
    st.builds(Candidate, st.integers(1, 20), st.integers(1, 5), st.floats(1.0, 6.0), st.floats(1.0, 200.0)),
    min_size=1,
    max_size=6,
)


@given(st.lists(st.tuples(st.floats(0.05, 1.0), candidates), min_size=1, max_size=3))
@example([(1.0, [Candidate(1, 1, 1.9375, 11.0), Candidate(1, 1, 4.34375, 24.25)])])
def test_no_combination_of_candidates_has_a_higher_rate(kinds: list[tuple[float, list[Candidate]]]) -> None:
    def rate(chosen: tuple[Candidate, ...]) -> float:
        shares = [share for share, _ in kinds]
        tokens = sum(s * c.tokens for s, c in zip(shares, chosen, strict=True))
        return 1e3 * tokens / sum(s * c.ms for s, c in zip(shares, chosen, strict=True))

    best = max(map(rate, product(*(options for _, options in kinds))))
    described = [RoundKind(share, options) for share, options in kinds]
    exact = choose(described, slack=0.0)
    assert exact.tokens_per_second == pytest.approx(best)
    assert rate(exact.candidates) == pytest.approx(best)
    frugal = choose(described)
    assert frugal.tokens_per_second >= (1.0 - SLACK) * best * (1.0 - 1e-9)
    assert all(f.nodes <= e.nodes for f, e in zip(frugal.candidates, exact.candidates, strict=True))


def test_free_rows_buy_large_trees_and_dear_ones_the_smallest() -> None:
    large, _ = best_tree(RANKS, FLAT)
    small, _ = best_tree(RANKS, STEEP)
    assert parse_shape(large).size > 15
    assert small == "chain:1"


def test_dear_levels_make_a_tree_shallow() -> None:
    deep = parse_shape(best_tree(RANKS, FLAT)[0]).max_depth
    shallow = parse_shape(best_tree(RANKS, _costs({1: 40.0, 32: 40.0}, draft_level=10.0))[0]).max_depth
    assert shallow < deep


def test_the_rate_is_tokens_over_the_time_of_a_round() -> None:
    costs = _costs({1: 40.0, 8: 47.0}, draft_level=2.0, other=1.0)
    name, choice = best_tree(RANKS, costs)
    shape = parse_shape(name)
    ms = 2.0 * shape.max_depth + 40.0 + shape.size + 1.0
    assert choice.tokens_per_second == pytest.approx(1e3 * expected_tokens(shape, RANKS.hits) / ms)
    assert shape.size <= 7, "a tree larger than what was measured"


def test_a_drafter_that_is_often_silent_gets_a_chain_for_when_it_speaks() -> None:
    """Silence costs the same whatever the chain: only what a match brings decides its length."""
    name, choice = best_tree(AcceptanceProfile(((0.6,), (0.8,)), rounds=0.25), _costs({1: 40.0, 32: 71.0}))
    assert name.startswith("chain:")
    length = parse_shape(name).size
    tokens = expected_tokens(parse_shape(name), [[0.6], [0.8]])
    expected = 1e3 * (0.25 * tokens + 0.75) / (0.25 * (40.0 + length) + 0.75 * 40.0)
    assert choice.tokens_per_second == pytest.approx(expected)
    assert length > 3


def test_lookup_beside_a_drafter_gets_a_chain_of_its_own() -> None:
    """Its rounds cost no drafting, and both parts are judged by the rate they reach together."""
    beside = AcceptanceProfile(((0.7,), (0.9,)), rounds=0.2)
    costs = _costs({1: 40.0, 32: 71.0}, draft_level=3.0)
    name, choice = best_tree(RANKS, costs, beside)
    tree, chain = map(parse_shape, name.split("+"))
    assert chain.name.startswith("chain:")
    ms = 0.8 * (40.0 + tree.size + 3.0 * tree.max_depth) + 0.2 * (40.0 + chain.size)
    tokens = 0.8 * expected_tokens(tree, RANKS.hits) + 0.2 * expected_tokens(chain, beside.hits)
    assert choice.tokens_per_second == pytest.approx(1e3 * tokens / ms)
    assert choice.tokens_per_second > best_tree(RANKS, costs)[1].tokens_per_second
    assert chain.size > tree.max_depth


def test_measured_trees_are_chosen_from_where_there_are_any() -> None:
    """A tree's measured tokens count more than those that its ranks promise."""
    costs = _costs({1: 40.0, 32: 71.0}, draft_level=1.0)
    measured = {"dynamic:8x4": 2.0, "dynamic:16x5": 2.2, "dynamic:30x6": 2.25}
    name, choice = best_tree(AcceptanceProfile(RANKS.hits, measured), costs)
    rates = {
        spec: tokens / (40.0 + shape.size + shape.max_depth)
        for spec, tokens in measured.items()
        if (shape := parse_tree(spec))
    }
    assert name == max(rates, key=lambda spec: rates[spec])
    assert choice.tokens_per_second == pytest.approx(1e3 * rates[name])


def test_a_draft_with_probabilities_keeps_size_and_depth_and_chooses_nodes_itself() -> None:
    costs = _costs({1: 40.0, 32: 71.0}, draft_level=1.0)
    static = parse_shape(best_tree(RANKS, costs)[0])
    dynamic = parse_tree(best_tree(RANKS, costs, dynamic=True)[0])
    assert dynamic.name == f"dynamic:{static.size}x{static.max_depth}"


def test_times_between_measured_rows_lie_between_them_and_never_fall() -> None:
    costs = _costs({1: 40.0, 4: 36.0, 8: 44.0, 16: 60.0})
    assert [costs.verify_ms(n) for n in (1, 4, 6, 8, 12, 16, 24)] == pytest.approx(
        [38.0, 38.0, 41.0, 44.0, 52.0, 60.0, 76.0]
    )
