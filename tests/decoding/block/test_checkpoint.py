"""DFlash heads load as they were meant, and unfit ones are refused in one line that names the key."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Qwen3Config

from spectui.decoding.block.checkpoint import describe, load_block_head, read_config
from spectui.decoding.block.head import BlockHead, Sight
from spectui.decoding.config import RunConfig
from spectui.decoding.drafters.base import Setup
from spectui.decoding.drafters.block import BlockDrafter
from spectui.decoding.drafters.registry import DFLASH, DSPARK, kind_in
from spectui.decoding.engine import SpeculativeDecoder
from spectui.decoding.errors import DecodingError, UsageError
from spectui.decoding.models.described import block_head_bytes
from spectui.decoding.models.load import load_models
from spectui.decoding.target.cache import TreeCache
from spectui.decoding.target.language_model import LanguageModel
from spectui.decoding.target.layer_inputs import BEFORE_NORM
from spectui.decoding.trees.spec import parse_tree
from tests.heads import save_block_head, tiny_block_head
from tests.models import greedy_reference, tiny_llama

TOKENS = list(range(0, 384, 2))
INNER = {"mask_token_id": 383, "target_layer_ids": [0, 3]}


@pytest.fixture(scope="module")
def target() -> Any:
    return tiny_llama(layers=5)


def written(folder: Path, target: Any, **changes: Any) -> Path:
    save_block_head(tiny_block_head(target, tokens=TOKENS), folder, **changes)
    return folder


def test_what_is_written_is_loaded(target: Any, tmp_path: Path) -> None:
    made = tiny_block_head(target, tokens=TOKENS)
    save_block_head(made, tmp_path)
    assert kind_in(tmp_path) is DFLASH
    head = load_block_head(tmp_path, target)
    assert head.config == made.config
    tensors = head.state_dict()
    assert all(torch.equal(tensors[name], tensor) for name, tensor in made.state_dict().items())


@pytest.mark.parametrize(
    ("changes", "layers"),
    [
        ({}, (1, 4)),
        ({"dflash_config": {"mask_token_id": 383}}, (2, 3)),
        ({"dflash_config": {"mask_token_id": 383, "target_layer_ids": [4, 0]}}, (5, 1)),
        ({"num_hidden_layers": 1, "layer_types": None, "dflash_config": {"mask_token_id": 383}}, (3,)),
        ({"speculators_model_type": "dflash", "mask_token_id": 383, "aux_hidden_state_layer_ids": [1, 5]},
         (1, BEFORE_NORM)),
    ],
)  # fmt: skip
def test_hidden_states_are_counted_as_their_writers_count(
    target: Any, tmp_path: Path, changes: dict[str, Any], layers: tuple[int, ...]
) -> None:
    """Authors name the layers whose outputs are read, in an order of their own, or leave a rule to find them."""
    assert read_config(written(tmp_path, target, **changes), layers=5).feature_layers == layers


@torch.inference_mode()
def test_the_states_on_both_sides_of_the_final_norm_are_read(target: Any) -> None:
    tokens = list(range(40, 52))
    model = LanguageModel(target, (0, BEFORE_NORM, 5))
    features = model.prefill(tokens).features
    assert features is not None
    first, before, after = features.chunk(3, -1)
    states = target(torch.tensor([tokens]), output_hidden_states=True).hidden_states
    assert torch.allclose(first, states[0][0], atol=1e-5)
    assert torch.allclose(after, states[5][0], atol=1e-5)
    assert torch.allclose(target.model.norm(before), after, atol=1e-5)
    assert not torch.allclose(before, after, atol=1e-2)


@pytest.mark.parametrize(
    ("changes", "sights"),
    [
        ({}, (Sight(), Sight(causal=True, window=3))),
        ({"is_causal": False}, (Sight(), Sight(window=3))),
        ({"is_causal": True}, (Sight(causal=True), Sight(causal=True, window=3))),
        ({"use_sliding_window": False}, (Sight(), Sight(causal=True))),
        ({"layer_types": None, "max_window_layers": 1}, (Sight(), Sight(causal=True, window=3))),
    ],
)
def test_layers_see_what_their_configuration_says(
    target: Any, tmp_path: Path, changes: dict[str, Any], sights: tuple[Sight, ...]
) -> None:
    assert read_config(written(tmp_path, target, **changes), layers=5).sights == sights


def test_a_qwen3_layer_without_a_head_dim_has_that_of_transformers(target: Any, tmp_path: Path) -> None:
    assert read_config(written(tmp_path, target, head_dim=None), layers=5).head_dim == Qwen3Config().head_dim


@pytest.mark.parametrize(
    ("inner", "sights"),
    [
        ({"causal": True}, (Sight(causal=True), Sight(causal=True, window=3))),
        ({"causal": False}, (Sight(), Sight(window=3))),
        ({"swa_window_size": 7}, (Sight(), Sight(causal=True, window=7))),
    ],
)
def test_what_vllm_says_of_sight_counts(
    target: Any, tmp_path: Path, inner: dict[str, Any], sights: tuple[Sight, ...]
) -> None:
    assert read_config(written(tmp_path, target, dflash_config=INNER | inner), layers=5).sights == sights


def test_a_window_of_vllms_holds_in_every_layer_where_none_is_said_to_slide(
    target: Any, tmp_path: Path
) -> None:
    inner = INNER | {"use_swa": True, "swa_window_size": 7}
    for kinds in (["full_attention"] * 2, None):
        folder = written(tmp_path, target, dflash_config=inner, layer_types=kinds, use_sliding_window=False)
        assert read_config(folder, layers=5).sights == (Sight(window=7),) * 2


@pytest.mark.parametrize("non_causal", [None, False, True])
def test_speculators_slide_in_order_unless_they_say_otherwise(
    target: Any, tmp_path: Path, non_causal: bool | None
) -> None:
    changes = {"speculators_model_type": "dflash", "mask_token_id": 383, "aux_hidden_state_layer_ids": [1, 4]}
    folder = written(tmp_path, target, **changes, sliding_window_non_causal=non_causal)
    assert read_config(folder, layers=5).sights == (Sight(), Sight(causal=not non_causal, window=3))


@pytest.mark.parametrize("kind", ["vanilla", "gated", "rnn"])
def test_dspark_heads_are_loaded_as_they_were_written(target: Any, tmp_path: Path, kind: str) -> None:
    made = tiny_block_head(target, tokens=TOKENS, markov=kind, markov_rank=8, anchored=True)
    save_block_head(made, tmp_path)
    assert kind_in(tmp_path) is DSPARK
    head = load_block_head(tmp_path, target)
    assert head.config == made.config
    assert describe(tmp_path).startswith("a DSpark head")
    assert block_head_bytes(tmp_path) > 0


@pytest.mark.parametrize(
    ("changes", "anchored"),
    [
        ({"sample_from_anchor": None}, False),  # as SpecForge's own, whose settings lie in dflash_config
        ({"sample_from_anchor": True}, True),
        ({"speculators_model_type": "dspark", "sample_from_anchor": None, "dflash_config": None, "mask_token_id": 383,
          "aux_hidden_state_layer_ids": [1, 4]}, True),
    ],
)  # fmt: skip
def test_the_row_of_the_root_predicts_where_the_file_or_its_maker_says_so(
    target: Any, tmp_path: Path, changes: dict[str, Any], anchored: bool
) -> None:
    save_block_head(
        tiny_block_head(target, tokens=TOKENS, markov="vanilla", markov_rank=8), tmp_path, **changes
    )
    described = json.loads((tmp_path / "config.json").read_text()) | changes
    (tmp_path / "config.json").write_text(json.dumps(described))
    assert read_config(tmp_path, layers=5).anchored == anchored


def test_a_dspark_head_without_a_markov_head_is_a_dflash_head(target: Any, tmp_path: Path) -> None:
    """`speculators` writes one where it is trained with a rank of 0."""
    changes = {
        "speculators_model_type": "dspark",
        "markov_rank": 0,
        "sample_from_anchor": True,
        "mask_token_id": 383,
    }
    save_block_head(
        tiny_block_head(target, tokens=TOKENS), tmp_path, **changes, aux_hidden_state_layer_ids=[1, 4]
    )
    assert kind_in(tmp_path) is DFLASH
    config = load_block_head(tmp_path, target).config
    assert (config.markov, config.anchored, config.drafted) == (None, True, 5)


def test_an_unknown_markov_head_is_refused(target: Any, tmp_path: Path) -> None:
    save_block_head(tiny_block_head(target, markov="vanilla", markov_rank=8), tmp_path)
    described = json.loads((tmp_path / "config.json").read_text())
    for changes, says in (
        ({"markov_head_type": "lstm"}, "markov_head_type = lstm"),
        ({"markov_rank": None}, "markov_rank"),
        ({"markov_rank": 0}, "markov_rank = 0"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(described | changes))
        with pytest.raises(DecodingError, match=says):
            load_block_head(tmp_path, target)


@torch.inference_mode()
def test_scales_and_softcaps_are_those_of_the_file(target: Any, tmp_path: Path) -> None:
    plain = load_block_head(written(tmp_path, target), target)
    inner = {"mask_token_id": 383, "target_layer_ids": [0, 3]}
    scales = {"input_embedding_scale": 2.0, "output_multiplier": 0.5, "final_logit_softcapping": 3.0}
    scaled = load_block_head(written(tmp_path, target, dflash_config=inner | scales), target)
    states = torch.randn(4, 32)
    assert torch.allclose(
        scaled.logits(states), 3.0 * torch.tanh(0.5 * plain.logits(states) / 3.0), atol=1e-6
    )
    assert scaled.config.embedding_scale == 2.0
    uncapped = load_block_head(
        written(tmp_path, target, dflash_config=inner | {"final_logit_softcapping": 0.0}), target
    )
    assert torch.equal(uncapped.logits(states), plain.logits(states))  # as for its authors
    top = load_block_head(written(tmp_path, target, **scales), target)
    assert top.config == scaled.config


def _edit(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"block_size": 4, "dflash_config": INNER | {"block_size": 8}}, "block_size = 4 and in its"),
        ({"block_size": None}, "no whole number block_size"),
        ({"block_size": 1}, "tokens drafted by its block_size = 0"),
        ({"speculators_config": {"proposal_methods": [{"speculative_tokens": 7}]}}, "speculative_tokens = 7"),
        ({"dflash_config": INNER | {"mask_token_id": 384}}, "mask_token_id = 384, and the target has"),
        ({"dflash_config": INNER | {"mask_token_id": -1}}, "mask_token_id = -1"),
        ({"dflash_config": {"target_layer_ids": [0, 3]}}, "no whole number mask_token_id"),
        ({"dflash_config": INNER | {"target_layer_ids": [0, 5]}}, "1, 6 of .*target_layer_ids.* 5 layers"),
        ({"dflash_config": INNER | {"target_layer_ids": [0, "x"]}}, "target_layer_ids is"),
        ({"dflash_config": []}, None),
        ({"dflash_config": [1]}, "dflash_config is no object"),
        ({"num_target_layers": 36}, "num_target_layers 36, and this one has 5"),
        ({"hidden_size": 64}, "hidden size 64, and this one has 32"),
        ({"vocab_size": 151936}, "vocabulary size 151936, and this one has 384"),
        ({"target_hidden_size": 48}, "target_hidden_size = 48"),
        ({"num_hidden_layers": 3}, "num_hidden_layers = 3 and other layer_types"),
        ({"layer_types": ["full_attention", "chunked_attention"]}, "layer_types with 'chunked_attention'"),
        ({"num_hidden_layers": 3, "layer_types": None}, r"lacks the tensor 'layers\.2\."),
        ({"intermediate_size": 65}, "gate_proj.weight' of shape"),
        ({"attention_bias": True}, "lacks the tensor 'layers.0.self_attn.q_proj.bias'"),
        ({"dflash_config": INNER | {"output_multiplier": "1/2"}}, "output_multiplier is '1/2', and no number"),
        ({"sliding_window": "wide"}, "sliding_window is 'wide', and no whole number"),
        ({"draft_vocab_size": 100}, "d2t of shape"),
        ({"speculators_model_type": "dflash", "mask_token_id": 383}, "aux_hidden_state_layer_ids is None"),
        ({"speculators_model_type": "dflash", "speculators_version": "1.0"}, "speculators_version 1.0"),
        ({"dflash_config": INNER | {"final_logit_softcapping": -1}}, "final_logit_softcapping = -1"),
        ({"dflash_config": INNER | {"attention_sink_bias": True}}, "attention_sink_bias = True"),
        ({"dflash_config": INNER | {"attention_value_scale": 0.7}}, "attention_value_scale = 0.7"),
        ({"is_neox_style": False}, "is_neox_style = False"),
        ({"dflash_config": INNER | {"use_swa": True}, "layer_types": ["full_attention"] * 2,
          "use_sliding_window": False}, "use_swa = True and no swa_window_size"),
    ],
)  # fmt: skip
def test_unfit_configurations_are_refused_in_one_line(
    target: Any, tmp_path: Path, changes: dict[str, Any], says: str | None
) -> None:
    folder = written(tmp_path, target, **changes)
    with pytest.raises(DecodingError, match=says or "mask_token_id") as caught:
        load_block_head(folder, target)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.pop("fc.weight"), "lacks the tensor 'fc.weight'"),
        (
            lambda t: t.pop("lm_head.weight"),
            "lacks the tensor 'lm_head.weight', which draft_vocab_size = 192",
        ),
        (lambda t: t.update({"fc.bias": torch.ones(2)}), "holds a tensor 'fc.bias'"),
        (lambda t: t.pop("d2t"), "no d2t that names them"),
        (
            lambda t: t["hidden_norm.weight"][:1].fill_(float("nan")),
            "'hidden_norm.weight' that are no numbers",
        ),
        (lambda t: t["d2t"].add_(384), "predicts token"),
    ],
)
def test_unfit_tensors_are_refused_in_one_line(
    target: Any, tmp_path: Path, change: Callable[[dict[str, torch.Tensor]], object], says: str
) -> None:
    folder = written(tmp_path, target)
    _edit(folder, change)
    with pytest.raises(DecodingError, match=says) as caught:
        load_block_head(folder, target)
    assert "\n" not in str(caught.value)


@torch.inference_mode()
def test_an_embedding_in_the_file_is_read_unless_it_is_the_targets(target: Any, tmp_path: Path) -> None:
    """`speculators` up to 0.7 and deepseek-ai write one, and an LM head of all tokens beside it."""
    folder = written(tmp_path, target)
    copies = {"embed_tokens.weight": target.get_input_embeddings().weight.detach().clone()}
    _edit(folder, lambda tensors: tensors.update(copies))
    assert load_block_head(folder, target).own_embedding is None
    _edit(folder, lambda tensors: tensors.update({"embed_tokens.weight": 2 * copies["embed_tokens.weight"]}))
    head, plain = (
        load_block_head(folder, target),
        load_block_head(written(tmp_path / "plain", target), target),
    )
    tokens, positions = torch.tensor([5, 383, 383]), torch.arange(4, 9)
    context = torch.randn(2, 32)

    def states(one: BlockHead, scale: float) -> torch.Tensor:
        one.config = replace(one.config, embedding_scale=scale)
        out: torch.Tensor = one(context, tokens, positions, TreeCache(), [None, None])
        return out

    assert torch.allclose(states(head, 1.0), states(plain, 2.0), atol=1e-5)
    assert not torch.allclose(states(head, 1.0), states(plain, 1.0), atol=1e-2)


def test_copies_of_the_targets_lm_head_are_not_kept(target: Any, tmp_path: Path) -> None:
    save_block_head(tiny_block_head(target), tmp_path)
    _edit(
        tmp_path, lambda tensors: tensors.update({"lm_head.weight": target.lm_head.weight.detach().clone()})
    )
    assert load_block_head(tmp_path, target).lm_head is None


def test_an_embedding_of_the_mask_in_a_file_of_its_own_is_not_passed_over(
    target: Any, tmp_path: Path
) -> None:
    folder = written(tmp_path, target)
    (folder / "mask_embedding.pt").touch()
    with pytest.raises(DecodingError, match=r"has a mask_embedding\.pt"):
        load_block_head(folder, target)


def test_pickles_and_halves_are_refused(target: Any, tmp_path: Path) -> None:
    folder = written(tmp_path, target)
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DecodingError, match="damaged or incomplete"):
        load_block_head(folder, target)
    (folder / "model.safetensors").unlink()
    torch.save({"fc.weight": torch.ones(1)}, folder / "pytorch_model.bin")
    with pytest.raises(DecodingError, match=r"pickled weights.*--allow-pickle"):
        load_block_head(folder, target)
    index = {"weight_map": {"fc.weight": "model-00001-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(DecodingError, match="not complete: model-00001-of-00002"):
        load_block_head(folder, target)


def test_a_chain_longer_than_the_block_is_refused_and_a_dynamic_tree_ends_with_it(target: Any) -> None:
    head = tiny_block_head(target)
    with pytest.raises(UsageError, match=r"'chain:5' is 5 deep.*4 tokens a round \(block_size 5\)"):
        BlockDrafter(Setup(parse_tree("chain:5"), head.config.vocab_size, "dflash", head))
    drafter = BlockDrafter(Setup(parse_tree("chain:4"), head.config.vocab_size, "dflash", head))
    with pytest.raises(UsageError, match="block_size 5"):
        drafter.use(parse_tree("full:5x2"))
    model = LanguageModel(target, drafter.feature_layers)
    drafter.use(parse_tree("dynamic:8x20"))
    drafter.begin([5, 6, 7, 8], model.prefill([5, 6, 7]))
    assert 0 < drafter.propose(8, 30).depth.max() <= 4


def test_a_folder_drafts_without_being_told_what_it_is(tmp_path: Path) -> None:
    """The whole way of a user: two folders, no flag; tuned, so with packed weights; described and counted too."""
    model, draft = tmp_path / "model", tmp_path / "head"
    reference = tiny_llama(model, layers=5)
    save_block_head(tiny_block_head(reference, tokens=TOKENS), draft)
    assert describe(draft).startswith("a DFlash head in its authors' layout; for a target of hidden size 32")
    assert "chains and trees up to 4 deep (block_size 5), of 192 tokens" in describe(draft)
    assert 0 < block_head_bytes(draft) < (draft / "model.safetensors").stat().st_size
    config = RunConfig(target=str(model), draft=str(draft), tree="dynamic:6x3", max_new_tokens=12)
    decoder = SpeculativeDecoder(config)
    assert decoder.models.kind is DFLASH
    ids = decoder.encode("Tom is a cat")
    rounds = list(decoder.generate(ids))
    assert [t for r in rounds for t in r.tokens] == greedy_reference(reference, ids, 12)
    assert all(r.tree.size == 6 for r in rounds)
    with pytest.raises(DecodingError, match="is a DFlash head; give it as --draft"):
        load_models(config.changed(target=str(draft)))
