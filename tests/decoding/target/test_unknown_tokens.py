"""Tokens that a model has no embedding for are named in one line: looking one up would end a process on a GPU."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from spectui.decoding.config import RunConfig
from spectui.decoding.distill.generate import Template
from spectui.decoding.engine import SpeculativeDecoder
from spectui.decoding.errors import DecodingError
from spectui.decoding.models.load import LoadedModels, load_models
from spectui.decoding.models.loading import load_tokenizer
from spectui.decoding.tokens.vocabulary import Vocabulary
from tests.heads import tiny_head
from tests.models import greedy_reference, tiny_llama, tiny_tokenizer

ROWS = 384
PROMPTS: list[tuple[str | list[int], str]] = [
    ("call <|tool|> now", "token 384 ('<|tool|>')"),
    ([5, 6, 999_999, 7], "token 999999"),
    ([5, ROWS], "token 384 ('<|tool|>')"),
    ([5, -1, 7], "token -1"),
    ([-3], "token -3"),
]


def with_tool(*, in_template: bool) -> Any:
    """A tokenizer with a token more than the models have, which stands in the chat template or only in texts."""
    tokenizer = tiny_tokenizer()
    assert tokenizer.add_tokens(["<|tool|>"]) == 1
    if in_template:
        tokenizer.chat_template = "<|tool|>" + tokenizer.chat_template
    return tokenizer


@pytest.fixture(scope="module")
def models() -> dict[str, LoadedModels]:
    target = tiny_llama(vocab_size=ROWS, layers=2)
    alone = LoadedModels(target, None, Vocabulary(with_tool(in_template=False), []))
    head = tiny_head(target, feature_layers=(0, 1, 1))
    return {
        "eagle": replace(alone, draft=head),
        "draft": replace(alone, draft=tiny_llama(vocab_size=ROWS, layers=1)),
        "recycling": alone,
        "lookup": alone,
    }


@pytest.mark.parametrize("static", ["0", "1"])
@pytest.mark.parametrize("draft", ["draft", "eagle", "recycling", "lookup"])
def test_a_prompt_with_such_a_token_is_refused_and_the_next_decodes(
    models: dict[str, LoadedModels], monkeypatch: pytest.MonkeyPatch, draft: str, static: str
) -> None:
    monkeypatch.setenv("SPECTUI_STATIC", static)
    config = RunConfig(draft=draft, tree="chain:2", max_new_tokens=4)
    decoder = SpeculativeDecoder(config, models=models[draft])
    for prompt, named in PROMPTS:
        with pytest.raises(DecodingError) as refused:
            list(decoder.generate(prompt))
        assert named in str(refused.value)
        assert "tokens 0 to 383 only" in str(refused.value)
        assert "\n" not in str(refused.value)
        output = [t for r in decoder.generate([5, 6, 7]) for t in r.tokens]
        assert output == greedy_reference(models[draft].target, [5, 6, 7], 4)


def test_a_template_with_such_a_token_is_refused_before_anything_is_fed(tmp_path: Path) -> None:
    """Wherever texts become tokens: in runs, in bench, whose `generate` would fail inside, and in distill."""
    target = tiny_llama(tmp_path, vocab_size=ROWS, layers=1, tokenizer=with_tool(in_template=True))
    vocabulary = load_tokenizer(tmp_path, target)
    for make in (lambda: vocabulary.encode_prompt("Hi"), lambda: Template.of(vocabulary)):
        with pytest.raises(DecodingError, match=r"token 384 \('<\|tool\|>'\)"):
            make()


def test_a_draft_that_knows_fewer_tokens_leaves_the_rest_to_the_target(tmp_path: Path) -> None:
    """And says so; the target's own embedding is large enough."""
    tokenizer = with_tool(in_template=True)
    target, draft = tmp_path / "target", tmp_path / "draft"
    reference = tiny_llama(target, vocab_size=ROWS + 8, layers=1, tokenizer=tokenizer)
    tiny_llama(draft, vocab_size=ROWS, layers=1)
    config = RunConfig(target=str(target), draft=str(draft), tree="chain:2", max_new_tokens=6)
    loaded = load_models(config)
    assert [note for note in loaded.notes if "tokens 0 to 383" in note and "'<|tool|>'" in note]
    decoder = SpeculativeDecoder(config, models=loaded)
    ids = decoder.encode("Tom is a cat")
    assert ROWS in ids
    rounds = list(decoder.generate(ids))
    assert [t for r in rounds for t in r.tokens] == greedy_reference(reference, ids, 6)
    assert not any(r.tree.size for r in rounds)
    assert any(r.tree.size for r in decoder.generate([5, 6, 7]))


def test_an_embedding_that_is_not_of_the_configured_size_decides(models: dict[str, LoadedModels]) -> None:
    """Rows that were added behind the configuration's back can be fed, rows that lack cannot."""
    target = tiny_llama(vocab_size=ROWS, layers=1)
    target.model.embed_tokens = torch.nn.Embedding(300, 32)
    loaded = LoadedModels(target, None, models["lookup"].tokenizer)
    decoder = SpeculativeDecoder(RunConfig(draft="lookup", max_new_tokens=2), models=loaded)
    with pytest.raises(DecodingError, match=r"token 300 .*tokens 0 to 299 only"):
        next(decoder.generate([5, 300]))
