"""Protects what both implementations of `Rounds` promise, and where an output ends."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from spectui.decoding.acceptance import Verdict
from spectui.decoding.config import RunConfig
from spectui.decoding.device.rounds import DeviceRounds
from spectui.decoding.engine import SpeculativeDecoder
from spectui.decoding.errors import DecodingError
from spectui.decoding.host_rounds import HostRounds
from spectui.decoding.models.load import LoadedModels
from spectui.decoding.rounds import Outcome, end_of_output
from spectui.decoding.tokens.vocabulary import Vocabulary
from spectui.decoding.trees.shape import TokenTree
from spectui.decoding.trees.spec import chain_shape
from tests.models import tiny_llama, tiny_tokenizer

CHAIN = TokenTree.from_shape(chain_shape(3), np.array([11, 12, 13]))
EVERYTHING = Verdict((0, 1, 2), 14)


@pytest.mark.parametrize(
    ("ends", "room", "positions", "outcome"),
    [
        ({}, 9, 9, Outcome((0, 1, 2), 14, None, None)),
        ({13}, 9, 9, Outcome((0, 1, 2), None, "eos", "eos")),
        ({12, 14}, 9, 9, Outcome((0, 1), None, "eos", "eos")),
        ({14}, 9, 9, Outcome((0, 1, 2), 14, None, "eos")),
        ({}, 2, 9, Outcome((0, 1), None, "length", "length")),
        ({12}, 2, 9, Outcome((0, 1), None, "eos", "eos")),
        ({}, 4, 9, Outcome((0, 1, 2), 14, None, "length")),
        ({14}, 4, 4, Outcome((0, 1, 2), 14, None, "eos")),
        ({}, 9, 4, Outcome((0, 1, 2), 14, None, "context")),
        ({}, 9, 5, Outcome((0, 1, 2), 14, None, None)),
    ],
)  # fmt: skip
def test_an_output_ends_at_the_first_reason_there_is(
    ends: Sequence[int], room: int, positions: int, outcome: Outcome
) -> None:
    cut = end_of_output(
        CHAIN, EVERYTHING, room=room, positions=positions, ends=lambda tokens: tokens[-1] in ends
    )
    assert cut == outcome


def test_a_stop_string_may_span_the_tokens_of_a_round() -> None:
    cut = end_of_output(
        CHAIN, EVERYTHING, room=9, positions=9, ends=lambda tokens: list(tokens[-2:]) == [11, 12]
    )
    assert cut == Outcome((0, 1), None, "eos", "eos")


@pytest.fixture(params=[HostRounds, DeviceRounds])
def implementation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> type:
    """Either implementation, which decoders made in the test then use."""
    monkeypatch.setenv("SPECTUI_STATIC", "1" if request.param is DeviceRounds else "0")
    return request.param  # type: ignore[no-any-return]


def decoder(**config: str | float) -> SpeculativeDecoder:
    target = tiny_llama()
    models = LoadedModels(target, target, Vocabulary(tiny_tokenizer(), []))
    return SpeculativeDecoder(RunConfig(draft="itself", **config), models=models)  # type: ignore[arg-type]


def test_rounds_are_numbered_from_1_in_every_prompt(implementation: type) -> None:
    decoding = decoder(tree="chain:2", max_new_tokens=7)
    assert isinstance(decoding.rounds, implementation)
    for _ in range(2):
        rounds = list(decoding.generate([5, 6, 7]))
        assert [r.number for r in rounds] == list(range(1, len(rounds) + 1))
        assert len(rounds) > 1
        assert [r.prefix_length for r in rounds] == [
            3 + sum(len(r.tokens) for r in rounds[:i]) for i in range(len(rounds))
        ]
    assert decoding.rounds.capture_failure() is None


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_logits_that_are_no_numbers_are_refused_in_one_line(implementation: type, temperature: float) -> None:
    """And the same decoder goes on once they are numbers again."""
    decoding = decoder(tree="chain:2", max_new_tokens=4, temperature=temperature)
    weight = decoding.models.target.lm_head.weight
    whole = weight.detach().clone()
    with torch.no_grad():
        weight[7] = torch.nan
    with pytest.raises(DecodingError, match="behind token 3 are not finite numbers; its weights are damaged"):
        list(decoding.generate([5, 6, 7]))
    with torch.no_grad():
        weight.copy_(whole)
    assert sum(len(r.tokens) for r in decoding.generate([5, 6, 7])) == 4


def test_what_a_model_changes_of_its_logits_decides(implementation: type) -> None:
    """As a repetition penalty does: here token 9 is all that is left, and then ends the output as a stop string."""

    class OnlyNine:
        def processed(self, token: object, parent: object, logits: torch.Tensor) -> torch.Tensor:
            out = torch.full_like(logits, -torch.inf)
            out[:, 9] = 0.0
            return out

        def stops(self, tokens: Sequence[int]) -> bool:
            return list(tokens) == [9]

    decoding = decoder(tree="chain:2", max_new_tokens=4)
    decoding.target.prefill([5, 6])
    decoding.drafter.begin([5, 6, 7], decoding.target.prefill([]))
    decoding.rounds.begin(OnlyNine())
    round_ = decoding.rounds.step(7, 0, np.random.default_rng(0))
    assert (round_.tokens, round_.finish) == ((9,), "eos")
