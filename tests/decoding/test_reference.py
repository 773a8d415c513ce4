"""Protects the judge of outputs: those of `generate` are the target's choice everywhere, and one token is found out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GenerationConfig

from spectui.decoding.config import RunConfig
from spectui.decoding.errors import DecodingError
from spectui.decoding.models.load import LoadedModels, load_models
from spectui.decoding.reference import CHUNK, Reference, judge_all
from tests.models import greedy_reference, tiny_llama

ASKED = "One two three"
TOKENS = CHUNK + 30
"""More than one forward pass judges."""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    folder = tmp_path_factory.mktemp("reference") / "target"
    tiny_llama(folder)
    return RunConfig(target=str(folder), speculate=False, max_new_tokens=TOKENS, dtype="float32")


@pytest.fixture(scope="module", params=[{}, {"repetition_penalty": 1.3}], ids=["plain", "penalty"])
def models(config: RunConfig, request: pytest.FixtureRequest) -> LoadedModels:
    loaded = load_models(config)
    # Without an end token among them, so that outputs are as long as they may be.
    loaded.target.generation_config = GenerationConfig(pad_token_id=0, **request.param)
    return loaded


@pytest.fixture(scope="module")
def output(models: LoadedModels) -> list[int]:
    return greedy_reference(models.target, models.tokenizer.encode_prompt(ASKED), TOKENS)


def test_an_output_of_generate_is_the_targets_choice_at_every_token(
    config: RunConfig, models: LoadedModels, output: list[int]
) -> None:
    reference = Reference(config, models)
    judged = reference.judge(ASKED, output, ended=False)
    assert judged.tokens == len(output) == TOKENS
    assert judged.others == ()
    assert judged.prompt_tokens == len(models.tokenizer.encode_prompt(ASKED))
    assert reference.judge(ASKED, output, ended=False) == judged  # nothing is left of the one before


@pytest.mark.parametrize("place", [0, 5, CHUNK - 1, CHUNK, TOKENS - 1])
def test_another_token_is_found_where_it_stands_with_its_margin(
    config: RunConfig, models: LoadedModels, output: list[int], place: int
) -> None:
    wrong = (output[place] + 1) % 380
    changed = [*output[:place], wrong, *output[place + 1 :]]
    rivals: list[int | None] = [None] * len(output)
    rivals[place] = output[place]
    judged = Reference(config, models).judge(ASKED, changed, ended=False, rivals=rivals)
    first = judged.others[0]
    assert first.place == place
    assert first.choice == models.tokenizer.token_bytes(output[place]).decode("utf-8", "replace")
    gap = judged.gaps[place]
    assert gap is not None
    assert first.margin == pytest.approx(-gap)
    assert first.margin > 0
    assert first.rank >= 1
    assert [each is None for each in judged.gaps] == [i != place for i in range(len(output))]


def test_a_margin_is_that_of_log_probabilities(config: RunConfig, models: LoadedModels) -> None:
    if models.target.generation_config.repetition_penalty not in (None, 1.0):
        pytest.skip("the penalty is in the margin, too")
    ids = models.tokenizer.encode_prompt(ASKED)
    with torch.inference_mode():
        log_p = torch.log_softmax(models.target(torch.tensor([ids])).logits[0, -1].float(), -1)
    best = int(log_p.argmax())
    other = int(log_p.argsort(descending=True)[3])
    (judged,) = Reference(config, models).judge(ASKED, [other], ended=False).others
    assert judged.margin == pytest.approx(float(log_p[best] - log_p[other]), abs=1e-4)
    assert judged.rank == 3


def test_an_end_where_the_target_goes_on_is_one_that_it_would_not_have_chosen(
    config: RunConfig, models: LoadedModels, output: list[int]
) -> None:
    judged = Reference(config, models).judge(ASKED, output[:9], ended=True)
    (end,) = judged.others
    assert end.place == 9
    assert end.choice == models.tokenizer.token_bytes(output[9]).decode("utf-8", "replace")


def test_tokens_may_be_given_by_their_bytes(
    config: RunConfig, models: LoadedModels, output: list[int]
) -> None:
    reference = Reference(config, models)
    pieces = [models.tokenizer.token_bytes(token) for token in output]
    assert [models.tokenizer.token_bytes(i) for i in reference.ids(p.hex() for p in pieces)] == pieces
    assert reference.ids(output) == output
    with pytest.raises(DecodingError, match="has no token b'zzzz'"):
        reference.ids([b"zzzz".hex()])


def test_what_cannot_be_judged_is_an_answer_of_its_own(config: RunConfig, tmp_path: Path) -> None:
    def question(tokens: list[Any], rival: Any = None) -> dict[str, Any]:
        rivals = [rival] * len(tokens)
        return {"text": ASKED, "messages": None, "tokens": tokens, "rivals": rivals, "ended": False}

    work = {
        "config": {"target": config.target},
        "questions": [question([5]), question([9999]), question([7] * 600), question([6], b"a".hex())],
    }
    about, good, unknown, long, last = judge_all(work)
    assert about == {"dtype": "float32"}
    assert (good["tokens"], last["tokens"]) == (1, 1)
    assert [*good["gaps"]] == [None]
    assert isinstance(last["gaps"][0], float)  # vLLM names the tokens beside one by their bytes alone
    assert "9999" in unknown["error"]
    assert "context" in long["error"]
