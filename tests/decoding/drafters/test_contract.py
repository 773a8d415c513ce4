"""The contract that every kind of drafter keeps, the toy included: output is the target's own, whatever is drafted.

Recording and resuming are tested with the same kinds by whole runs, `tests/decoding/worker/test_matrix.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import count, product
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from spectui.decoding.config import WITH_LOOKUP, RunConfig
from spectui.decoding.drafters.kind import DrafterKind, imported
from spectui.decoding.drafters.registry import DRAFT_MODEL, EAGLE, KINDS, RECYCLING, kind_of
from spectui.decoding.engine import SpeculativeDecoder
from spectui.decoding.rounds import Round
from spectui.decoding.target.distributions import distribution
from spectui.decoding.trees.shape import TokenTree
from spectui.decoding.trees.spec import parse_tree
from spectui.decoding.worker.baseline import plain_decoder
from tests.decoding.drafters.kinds import CASES, EVERY, models_for, name_of, trees_of
from tests.decoding.drafters.toy_entry import TOY
from tests.models import tiny_llama, tiny_tokenizer

CONTEXT, TOKENS = 48, 28
PROMPTS = [
    [17, 7, 9] * 4, [5], [10, 11, 12, 13, 14, 10, 11, 12, 13], [5, 6, 7, 8] * 7, [17, 7, 9] * 4,
]  # fmt: skip
"""Repeating, of one token, new at its end, near the end of the context; and the first one again."""
LEARNING = [RECYCLING]
"""Kinds that go on drafting from earlier prompts."""
VOCAB = 6


@pytest.fixture(autouse=True)
def _toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, TOY.name, TOY)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Models this small only lose time to a second thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def target() -> Any:
    """Of so few tokens that a random head meets ten of its outputs; they go on and do not repeat themselves."""
    return tiny_llama(layers=3, context=CONTEXT, vocab_size=24, seed=7)


@pytest.fixture(scope="module")
def plain(target: Any) -> list[list[int]]:
    """Tokens of plain decoding after each prompt, whatever drafts for the same target."""
    decoder = plain_decoder(_decoder(target, DRAFT_MODEL, "chain:3", looks_up=False))
    return [_tokens(list(decoder.generate(ids))) for ids in PROMPTS]


def _decoder(
    target: Any,
    kind: DrafterKind,
    tree: str,
    looks_up: bool,
    *,
    ends: bool = True,
    **options: Any,
) -> SpeculativeDecoder:
    draft, chain = (kind.name + WITH_LOOKUP, "+chain:4") if looks_up else (kind.name, "")
    config = RunConfig(draft=draft, tree=tree + chain, **{"max_new_tokens": TOKENS, **options})
    tokenizer = tiny_tokenizer()
    if not ends:
        tokenizer.eos_token = None
    return SpeculativeDecoder(config, models=models_for(kind, target, tokenizer, [2] if ends else []))


def _tokens(rounds: list[Round]) -> list[int]:
    return [token for round_ in rounds for token in round_.tokens]


@pytest.mark.parametrize("kind", EVERY.values(), ids=name_of)
def test_a_kind_is_found_by_its_name_and_names_functions_that_exist(kind: DrafterKind) -> None:
    assert kind_of(kind.name) is kind or not kind.named
    weights = kind.weights
    spots = [kind.build, kind.device_build]
    spots += [weights.load, weights.tune, weights.size_from_config] if weights is not None else []
    assert all(callable(imported(spot)) for spot in spots if spot)
    assert kind.help
    assert parse_tree(kind.default_tree).size
    kind.check_tree(parse_tree(kind.default_tree))


@pytest.mark.parametrize(("kind", "tree", "looks_up"), CASES, ids=name_of)
def test_greedy_output_is_that_of_plain_decoding_prompt_after_prompt(
    target: Any, plain: list[list[int]], kind: DrafterKind, tree: str, looks_up: bool
) -> None:
    """Up to the end of the context, and after it; what is drafted has probabilities throughout, or none."""
    decoder = _decoder(target, kind, tree, looks_up)
    by_prompt = [list(decoder.generate(ids)) for ids in PROMPTS]
    assert [_tokens(of_prompt) for of_prompt in by_prompt] == plain
    # The first prompt comes again, and nothing of those between may be drafted from, unless that is the idea.
    first, again = ([round_.tree.token.tolist() for round_ in by_prompt[i]] for i in (0, -1))
    assert first == again or kind in LEARNING
    rounds = [round_ for of_prompt in by_prompt for round_ in of_prompt]
    assert "context" in {round_.finish for round_ in rounds}
    assert sum(len(round_.path) for round_ in rounds) > 5
    drafted = [round_.tree for round_ in rounds if round_.tree.size]
    if looks_up:  # both have had their turn
        assert decoder.drafter.name == kind.name + WITH_LOOKUP
        assert any(tree.size == tree.depth.max() == 4 for tree in drafted)
        assert any(tree.size != 4 or tree.depth.max() != 4 for tree in drafted)
    else:
        stated = [np.isfinite(tree.draft_logprob) for tree in drafted]
        assert all(known.all() if kind.probabilities else not known.any() for known in stated)
    assert (decoder.drafter.seconds_in_models() > 0.0) == (kind.weights is not None)


@pytest.mark.parametrize(("kind", "tree"), [case[:2] for case in CASES if not case[2]], ids=name_of)
def test_rounds_without_a_tree_change_nothing(
    target: Any, plain: list[list[int]], kind: DrafterKind, tree: str
) -> None:
    """Of three rounds one is not asked for a tree, one is asked for a tree of no depth."""
    decoder = _decoder(target, kind, tree, looks_up=False)
    drafter, rounds, proposals = decoder.drafter, count(), list[TokenTree]()
    propose = drafter.propose

    def now_and_then(root: int, max_depth: int) -> TokenTree:
        turn = next(rounds) % 3
        tree = TokenTree.empty() if turn == 0 else propose(root, 0 if turn == 1 else max_depth)
        assert turn == 2 or not tree.size
        proposals.append(tree)
        return tree

    drafter.propose = now_and_then  # type: ignore[method-assign]
    assert [_tokens(list(decoder.generate(ids))) for ids in PROMPTS] == plain
    assert any(tree.size for tree in proposals)


REPEATING = ["Tom is a cat and Tom is a cat", "def merge(a, b): merge(a, b)", "Tom is a cat"]
SAMPLED: dict[str, Any] = {"temperature": 0.9, "top_p": 0.8, "max_new_tokens": 24, "seed": 5}


def _sample(decoder: SpeculativeDecoder, position: int) -> list[int]:
    return _tokens(list(decoder.generate(REPEATING[position], position=position)))


@pytest.fixture(scope="module")
def plain_samples() -> list[list[int]]:
    """Samples of plain decoding, whatever drafts for the same target."""
    target = tiny_llama(layers=1, seed=3)
    decoder = plain_decoder(_decoder(target, DRAFT_MODEL, "chain:3", looks_up=False, **SAMPLED))
    return [_sample(decoder, position) for position in range(len(REPEATING))]


@pytest.mark.parametrize(
    ("kind", "tree", "looks_up", "fixed_sizes"),
    [
        (*case, path)
        for number, case in enumerate(
            case for case in CASES if not case[2] or case[1] == trees_of(case[0])[0]
        )
        # One path a case, in turn: `tests.decoding.device.test_rounds` holds both to the same rounds.
        for path in ("0", "1")[number % 2 : number % 2 + 1]
    ],
    ids=name_of,
)
def test_a_sample_depends_on_no_prompt_before_and_where_no_tree_is_drawn_on_no_draft(
    monkeypatch: pytest.MonkeyPatch,
    plain_samples: list[list[int]],
    kind: DrafterKind,
    tree: str,
    looks_up: bool,
    fixed_sizes: str,
) -> None:
    """The draft's generator went on from prompt to prompt, and what recycling had learnt moved all draws."""
    monkeypatch.setenv("SPECTUI_STATIC", fixed_sizes)
    target = tiny_llama(layers=1, seed=3)
    decoder = _decoder(target, kind, tree, looks_up, **SAMPLED)
    in_turn = [_sample(decoder, position) for position in range(len(REPEATING))]
    # The first prompt of a decoder has none before it.
    for position in range(1, len(REPEATING)):
        assert in_turn[position] == _sample(_decoder(target, kind, tree, looks_up, **SAMPLED), position)
    if not kind.probabilities or tree.startswith("dynamic"):
        assert in_turn == plain_samples


@pytest.mark.parametrize(
    ("kind", "tree", "looks_up", "temperature", "top_p"),
    [
        *((kind, trees_of(kind)[0], False, 1.4, 0.8) for kind in EVERY.values() if kind.probabilities),
        # Kinds without probabilities give the samples of plain decoding, see above: one of them stands for all.
        (RECYCLING, "full:2x2", False, 1.4, 0.8),
        (DRAFT_MODEL, "chain:3", False, 1.0, 1.0),
        (EAGLE, "full:2x2", True, 1.0, 1.0),
    ],
    ids=name_of,
)
def test_samples_follow_the_targets_own_distribution(
    kind: DrafterKind, tree: str, looks_up: bool, temperature: float, top_p: float
) -> None:
    """Chi-square over all outputs of a few tokens, some of which a head cannot name.

    Three are drawn for one kind that drafts level by level and one head; other kinds have their acceptance. Sizes are
    those that find faults: a bonus drawn from p instead of the residual has 2e-21 after 300 outputs of a full tree, and
    2e-15 after 400 of a chain, whose draft is moved away from the target so that it rejects more than now and then.
    """
    target = tiny_llama(vocab_size=VOCAB, layers=1, hidden=16, seed=3)
    length, fewest_cells, trials = (3, 15, 400) if kind in (DRAFT_MODEL, EAGLE) else (2, 8, 300)
    options: dict[str, Any] = {
        "temperature": temperature,
        "top_p": top_p,
        "max_new_tokens": length,
        "seed": 11,
    }
    decoder = _decoder(target, kind, tree, looks_up, ends=False, **options)
    if tree == "chain:3" and decoder.models.draft is not None:
        weight = decoder.models.draft.lm_head.weight
        with torch.no_grad():
            weight += torch.randn_like(weight)
    prompt = [1, 4, 2, 5]
    counts = Counter(
        tuple(_tokens(list(decoder.generate(prompt, position=trial)))) for trial in range(trials)
    )
    outputs = list(product(range(VOCAB), repeat=length))
    with torch.inference_mode():
        logits = target(torch.tensor([[*prompt, *output] for output in outputs])).logits.float()
        p = distribution(logits.flatten(0, 1), temperature, top_p).view(len(outputs), -1, VOCAB)
    root = len(prompt) - 1
    law = [
        np.prod([float(p[row, root + k, output[k]]) for k in range(length)])
        for row, output in enumerate(outputs)
    ]
    expected = np.asarray(law) * trials / sum(law)
    observed = np.asarray([counts[output] for output in outputs])
    assert observed[expected == 0.0].sum() == 0, "a token outside the nucleus was emitted"
    # Cells too small for the chi-square approximation are pooled.
    small = expected < 5.0
    observed = np.append(observed[~small], observed[small].sum())
    expected = np.append(expected[~small], expected[small].sum())
    keep = expected > 0
    assert keep.sum() > fewest_cells
    assert chisquare(observed[keep], expected[keep]).pvalue > 1e-3
