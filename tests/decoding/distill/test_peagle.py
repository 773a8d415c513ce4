"""The recipe of P-EAGLE: heads trained on what they draft from, begun from an EAGLE-3 head, found again by kind."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from spectui.decoding.distill import shards
from spectui.decoding.distill.config import DistillConfig
from spectui.decoding.distill.initial import begin, new_head, take_over
from spectui.decoding.distill.pipeline import distill
from spectui.decoding.distill.prompts import heldout
from spectui.decoding.distill.unroll import Batch, unroll
from spectui.decoding.distill.vocabulary import mask_token
from spectui.decoding.drafters.base import Setup
from spectui.decoding.drafters.expansion import Expander
from spectui.decoding.drafters.parallel_eagle import ParallelEagleDrafter
from spectui.decoding.drafters.registry import PEAGLE, kind_in
from spectui.decoding.eagle.checkpoint import load_head, save_head
from spectui.decoding.errors import DecodingError, UsageError
from spectui.decoding.target.language_model import Scored
from spectui.decoding.tokens.vocabulary import Vocabulary
from spectui.decoding.trees.shape import TokenTree
from spectui.decoding.trees.spec import parse_tree
from tests.decoding.distill.test_distill import ENDS, VOCAB, a_head, text
from tests.models import tiny_llama, tiny_tokenizer

DEPTH = 4


@pytest.mark.parametrize("layers", [1, 3])
@torch.inference_mode()
def test_training_sees_what_drafting_sees(monkeypatch: pytest.MonkeyPatch, layers: int) -> None:
    """The logits of every row of every pass are those that the drafter takes its tree from after the same text."""
    seen: list[torch.Tensor] = []

    def grow(self: Expander, logits: torch.Tensor, depth: int) -> TokenTree:
        seen.append(logits)
        return TokenTree.empty()

    monkeypatch.setattr(Expander, "grow_product", grow)
    model, head = a_head(mask=5, layers=layers)
    drafter = ParallelEagleDrafter(Setup(parse_tree(f"chain:{DEPTH}"), VOCAB, "peagle", head))
    sequence = text(model, 16, 3)
    tokens = sequence.tokens.tolist()
    compared = 0
    for part in unroll(head, Batch.of([sequence], torch.device("cpu")), DEPTH, 1.0, None):
        for column in torch.nonzero(part.counts[0]).flatten().tolist():
            row = int(part.rows[0, column])
            committed = tokens[: row + 2]  # the last of them is the root, which the target has yet to read
            drafter.begin(committed, Scored(None, sequence.features[: row + 1].flatten(1)))
            drafter.propose(committed[-1], DEPTH)
            logits = head.logits(part.hidden[0, column])
            torch.testing.assert_close(logits, seen.pop()[part.depth], rtol=0, atol=1e-4)
            compared += 1
    assert compared == 10 + 9 + 8 + 7


@torch.inference_mode()
def test_layers_that_an_earlier_head_lacks_begin_without_effect() -> None:
    """The first level is drafted as by the EAGLE-3 head that it starts from; masked pairs hold the mean feature."""
    model, earlier = a_head()
    for parameter in earlier.parameters():
        parameter.add_(0.05 * torch.randn_like(parameter))
    head = new_head(model, earlier.draft_ids.tolist(), layers=3, mask=7)
    sequence = text(model, 12, 1)
    begin(head, model, earlier, [sequence], 0)
    batch = Batch.of([sequence], torch.device("cpu"))
    one, other = (next(iter(unroll(each, batch, 1, 1.0, None))) for each in (earlier, head))
    torch.testing.assert_close(head.logits(other.hidden), earlier.logits(one.hidden))
    assert head.mask_hidden is not None
    torch.testing.assert_close(head.mask_hidden[0, 0], sequence.features[6:].flatten(1).mean(0))

    again = new_head(model, earlier.draft_ids.tolist(), layers=3, mask=7)
    begin(again, model, head, [], 0)  # needs no text
    torch.testing.assert_close(again.state_dict(), head.state_dict())
    with pytest.raises(DecodingError, match="has 3 layers; give --layers 3 or more"):
        take_over(new_head(model, earlier.draft_ids.tolist(), mask=7), head, model)


def test_masked_pairs_have_a_token_that_texts_do_not_have() -> None:
    tokenizer = tiny_tokenizer()
    vocabulary = Vocabulary(tokenizer, ENDS)
    assert mask_token(vocabulary, 400) == 399  # its special ones begin and end turns
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|reserved|>", "<|beyond|>"]})
    reserved = tokenizer.convert_tokens_to_ids("<|reserved|>")
    assert mask_token(Vocabulary(tokenizer, ENDS), reserved + 1) == reserved


def test_a_p_eagle_head_is_distilled_from_an_eagle_head(tmp_path: Path) -> None:
    """From text to a folder that loads, interrupted once, with heads of other kinds refused."""
    target, start, work, out = (tmp_path / name for name in ("target", "start", "work", "out"))
    model, earlier = a_head()
    start.mkdir()
    save_head(earlier, start, target_name="tiny")
    made = tiny_llama(layers=4, vocab_size=VOCAB)
    made.config.eos_token_id = made.generation_config.eos_token_id = ENDS
    made.save_pretrained(target)
    tiny_tokenizer().save_pretrained(target)
    (work / "text").mkdir(parents=True)
    shards.write(work / "text", 0, [text(model, 32, seed) for seed in range(1, 40)])
    (work / "text" / "finished.json").write_text('{"tokens": 1000}')
    config = DistillConfig(
        target=str(target), recipe="peagle", layers=2, start=str(start), tokens=1000, epochs=1.0, vocabulary=160,
        batch_tokens=256, dtype="float32",
    )  # fmt: skip
    said: list[str] = []
    distill(config, work, out, said.append, heldout(1)[:1])
    figures = distill(replace(config, epochs=2.0), work, out, said.append, heldout(1)[:1])
    assert any("resumed at step" in line for line in said)
    assert figures["identical"] == figures["questions"] == 1
    assert kind_in(out) is PEAGLE
    head = load_head(out, model)
    assert (head.config.mask_token, head.config.num_hidden_layers) == (VOCAB - 1, 2)
    assert head.mask_hidden is not None
    assert json.loads((out / "config.json").read_text())["mask_token_id"] == VOCAB - 1
    card = (out / "README.md").read_text()
    assert card.startswith("# P-EAGLE head for")
    assert "2 decoder layers" in card

    others: list[tuple[dict[str, Any], str]] = [
        ({"recipe": "eagle", "start": ""}, "was begun with recipe 'peagle', not 'eagle'"),
        ({"layers": 3}, "was begun with layers 2, not 3"),
    ]
    for changes, words in others:
        with pytest.raises(UsageError, match=words):
            distill(replace(config, **changes), work, out, said.append, [])
    for recipe, folder, words in (
        ("eagle", out, "is not an EAGLE-3 head; give"),
        ("peagle", target, "is not an EAGLE-3 head or a P-EAGLE head"),
    ):
        other = replace(config, recipe=recipe, start=str(folder))
        with pytest.raises(UsageError, match=words):
            distill(other, tmp_path / recipe, tmp_path / recipe / "head", said.append, [])


def test_what_was_begun_before_there_were_recipes_goes_on(tmp_path: Path) -> None:
    """A work folder of an earlier version, whose settings name neither a recipe nor layers."""
    config = DistillConfig()
    settings = tmp_path / "distill.json"
    begun = json.loads(config.to_json())
    del begun["recipe"], begun["layers"]
    settings.write_text(json.dumps(begun))
    config.check_continues(settings)
    with pytest.raises(UsageError, match="was begun with recipe 'eagle', not 'peagle'"):
        replace(config, recipe="peagle").check_continues(settings)
