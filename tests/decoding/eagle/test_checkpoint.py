"""Heads of others load as they were meant, ours load elsewhere, and unfit ones are refused in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from spectui.decoding.config import RunConfig
from spectui.decoding.drafters.registry import DRAFT_MODEL, EAGLE, PEAGLE, kind_in
from spectui.decoding.eagle.checkpoint import load_head, read_config, save_head
from spectui.decoding.eagle.head import EagleHead
from spectui.decoding.engine import SpeculativeDecoder
from spectui.decoding.errors import DecodingError
from spectui.decoding.models.load import load_models
from spectui.decoding.target.layer_inputs import BEFORE_NORM
from tests.heads import tiny_head
from tests.models import greedy_reference, tiny_llama
from tests.tiny_families import tiny_config, tiny_model

TOKENS = [*range(0, 100, 2), *range(100, 242)]
"""A draft vocabulary of 192 with gaps."""


@pytest.fixture(scope="module")
def target() -> Any:
    return tiny_llama(layers=6)


@pytest.fixture
def head(target: Any) -> EagleHead:
    return tiny_head(target, tokens=TOKENS, feature_layers=(1, 2, 4))


def official(head: EagleHead, folder: Path, *, file: str = "model.safetensors", **config: Any) -> None:
    """Write `head` as the EAGLE authors do, from their published layout; the target has 6 layers."""
    layer: Any = head.layers[0]
    attention = ("q_proj", "k_proj", "v_proj", "o_proj")
    norms = ("input_layernorm", "hidden_norm", "post_attention_layernorm")
    mlp = ("gate_proj", "up_proj", "down_proj")
    tensors = {
        **{f"midlayer.self_attn.{name}.weight": getattr(layer, name).weight for name in attention},
        **{f"midlayer.mlp.{name}.weight": getattr(layer, name).weight for name in mlp},
        **{f"midlayer.{name}.weight": getattr(layer, name).weight for name in norms},
        **{f"{name}.weight": getattr(head, name).weight for name in ("fc", "norm", "lm_head")},
    }
    tensors = {name: tensor.detach() for name, tensor in tensors.items()}
    tensors["d2t"] = head.draft_ids - torch.arange(len(head.draft_ids))
    tensors["t2d"] = torch.zeros(384, dtype=torch.bool).index_fill(0, head.draft_ids, True)
    folder.mkdir(exist_ok=True)
    if file.endswith(".bin"):
        torch.save(tensors, folder / file)
    else:
        save_file(tensors, folder / file)
    sizes = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "num_hidden_layers": 1,
        "hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2,
        "vocab_size": 384, "draft_vocab_size": 192, "rms_norm_eps": 1e-5, "max_position_embeddings": 2048,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(sizes | config))


def same(one: EagleHead, other: EagleHead, atol: float = 0.0) -> None:
    assert one.config == other.config
    assert torch.equal(one.draft_ids, other.draft_ids)
    tensors = one.state_dict()
    assert tensors.keys() == other.state_dict().keys()
    for name, tensor in other.state_dict().items():
        assert torch.allclose(tensors[name], tensor, atol=atol), name


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
def test_the_layout_of_the_eagle_authors(target: Any, tmp_path: Path, file: str) -> None:
    head = tiny_head(target, tokens=TOKENS, feature_layers=(2, 3, 3))  # (2, n/2, n - 3)
    official(head, tmp_path, file=file)
    assert kind_in(tmp_path) is EAGLE
    if file.endswith(".bin"):
        with pytest.raises(DecodingError, match=r"has pickled weights.*--allow-pickle"):
            load_head(tmp_path, target)
    loaded = load_head(tmp_path, target, allow_pickle=True)
    same(loaded, head)
    assert loaded.embed_tokens is target.get_input_embeddings()
    assert not loaded.training


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"norm_before_residual": True, "norm_output": True, "norm_before_fc": True},
        {"rope_theta": 5e5, "rope_scaling": {"rope_type": "linear", "factor": 2.0}},
        {"draft_vocab_size": 384},
        {"num_hidden_layers": 2, "qk_norm": True, "attention_bias": True, "fc_norm": True},
        {"num_hidden_layers": 2, "mask_token": 7},
    ],
)
def test_what_is_saved_is_loaded_again(target: Any, tmp_path: Path, changes: dict[str, Any]) -> None:
    head = tiny_head(target, tokens=TOKENS, feature_layers=(1, 2, 4), **changes)
    save_head(head, tmp_path, target_name="tiny", dtype=torch.float32)
    assert kind_in(tmp_path) is (PEAGLE if head.config.mask_token else EAGLE)
    same(load_head(tmp_path, target), head)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"mask_token_id": 384}, "mask_token_id = 384, and the target has 384"),
        ({"mask_token_id": None, "ptd_token_id": 500}, "ptd_token_id = 500, and the target has 384"),
        ({"mask_token_id": None}, "no single token mask_token_id"),
        ({"mask_token_id": 7, "ptd_token_id": 8}, "no single token mask_token_id"),
    ],
)
def test_a_mask_token_is_one_of_the_targets(
    target: Any, tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    save_head(tiny_head(target, mask_token=7), tmp_path, target_name="tiny")
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | changes))
    with pytest.raises(DecodingError, match=says):
        load_head(tmp_path, target)
    config |= {"mask_token_id": None, "ptd_token_id": 7}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert load_head(tmp_path, target).config.mask_token == 7
    _edit(tmp_path, lambda tensors: tensors.update(mask_hidden=tensors["mask_hidden"].flatten()[None]))
    assert load_head(tmp_path, target).config.mask_token == 7
    _edit(tmp_path, lambda tensors: tensors.pop("mask_hidden"))
    with pytest.raises(DecodingError, match="lacks the tensor 'mask_hidden'"):
        load_head(tmp_path, target)


def test_what_is_saved_is_the_layout_of_speculators(head: EagleHead, tmp_path: Path) -> None:
    save_head(head, tmp_path, target_name="some/target")
    tensors = load_file(tmp_path / "model.safetensors")
    assert tensors["layers.0.self_attn.q_proj.weight"].dtype == torch.float16
    assert tensors["layers.0.mlp.down_proj.weight"].shape == (32, 64)
    assert (torch.arange(192) + tensors["d2t"]).tolist() == TOKENS
    assert tensors["t2d"].nonzero().flatten().tolist() == TOKENS
    assert "embed_tokens.weight" not in tensors
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["speculators_model_type"] == "eagle3"
    assert config["transformer_layer_config"]["vocab_size"] == 384
    assert config["eagle_aux_hidden_state_layer_ids"] == [1, 2, 4]
    assert config["speculators_config"]["verifier"]["name_or_path"] == "some/target"
    assert not list(tmp_path.glob("*.part"))


def test_half_precision_files_load_in_the_targets_type(target: Any, head: EagleHead, tmp_path: Path) -> None:
    save_head(head, tmp_path, target_name="tiny")
    loaded = load_head(tmp_path, target)
    assert loaded.dtype == torch.float32
    assert loaded.draft_ids.dtype == torch.int64
    same(loaded, head, atol=2e-3)


def test_a_head_with_an_embedding_of_its_own(target: Any, tmp_path: Path) -> None:
    head = EagleHead(tiny_head(target).config).eval()
    save_head(head, tmp_path, target_name="tiny", dtype=torch.float32)
    loaded = load_head(tmp_path, target)
    same(loaded, head)
    assert loaded.embed_tokens is not target.get_input_embeddings()
    assert torch.equal(loaded.embed(torch.tensor([3])), head.embed(torch.tensor([3])))


@pytest.mark.parametrize("normed", [False, True])
@pytest.mark.parametrize(
    "named",
    [
        {"architectures": ["Eagle3Qwen3vlForCausalLM"]},
        {"architectures": ["LlamaForCausalLMEagle3"], "model_type": "qwen3_moe"},
        {"architectures": ["LlamaForCausalLMEagle3"], "model_type": "qwen3", "head_dim": 8},
    ],
)
def test_the_tensors_tell_whose_layers_they_are_rather_than_the_name_of_the_target(
    target: Any, tmp_path: Path, named: dict[str, Any], normed: bool
) -> None:
    """Heads for Qwen3 targets have layers of Llama; makers leave Qwen3's name in the configuration."""
    head = tiny_head(target, tokens=TOKENS, feature_layers=(2, 3, 3), qk_norm=normed)
    official(head, tmp_path, **named)
    if normed:
        norms = {f"midlayer.self_attn.{part}.weight": torch.rand(8) for part in ("q_norm", "k_norm")}
        _edit(tmp_path, lambda tensors: tensors.update(norms))
    assert load_head(tmp_path, target).config.qk_norm is normed


def test_a_text_reads_a_rotary_scaling_for_pictures_as_none(target: Any, tmp_path: Path) -> None:
    official(tiny_head(target, tokens=TOKENS, feature_layers=(2, 3, 3)), tmp_path)
    plain = load_head(tmp_path, target)
    config = json.loads((tmp_path / "config.json").read_text())
    config["rope_scaling"] = {"type": "mrope", "mrope_section": [2, 1, 1]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    positions = torch.arange(9)
    for one, other in zip(
        plain.angles(positions), load_head(tmp_path, target).angles(positions), strict=True
    ):
        assert torch.equal(one, other)


def test_a_head_reads_embeddings_as_they_are_stored() -> None:
    """A Gemma scales what it reads of its embedding; its head, trained on the stored weights, does not."""
    gemma = tiny_model(tiny_config("gemma3_text"))
    made = tiny_head(gemma, draft_vocab_size=gemma.config.vocab_size, feature_layers=(0, 1, 1))
    token = torch.tensor([7])
    stored = gemma.get_input_embeddings().weight[7]
    assert not torch.allclose(gemma.get_input_embeddings()(token)[0], stored)
    assert torch.equal(made.embed(token)[0], stored)


@pytest.mark.parametrize(
    ("extra", "layers"),
    [
        ({}, (2, 3, 3)),
        ({"eagle_aux_hidden_state_layer_ids": [1, 2, 5]}, (1, 2, 5)),
        # `speculators` counts the state behind the last layer, too; vLLM takes it before the final norm.
        ({"eagle_aux_hidden_state_layer_ids": [1, 2, 6]}, (1, 2, BEFORE_NORM)),
        ({"eagle_config": {"eagle_aux_hidden_state_layer_ids": [1, 2, 4]}}, (2, 3, 5)),
    ],
)
def test_feature_layers_are_counted_as_their_writers_count(
    head: EagleHead, tmp_path: Path, extra: dict[str, Any], layers: tuple[int, ...]
) -> None:
    official(head, tmp_path, **extra)
    assert read_config(tmp_path, layers=6).feature_layers == layers


def test_no_d2t_is_needed_where_there_is_nothing_to_say(target: Any, tmp_path: Path) -> None:
    official(
        tiny_head(target, draft_vocab_size=384, feature_layers=(2, 3, 3)), tmp_path, draft_vocab_size=384
    )
    _edit(tmp_path, lambda tensors: [tensors.pop("d2t"), tensors.pop("t2d")])
    assert load_head(tmp_path, target).draft_ids.tolist() == list(range(384))


def test_t2d_alone_says_which_tokens(target: Any, head: EagleHead, tmp_path: Path) -> None:
    official(head, tmp_path)
    _edit(tmp_path, lambda tensors: tensors.pop("d2t"))
    assert load_head(tmp_path, target).draft_ids.tolist() == TOKENS


def test_models_and_other_files_are_no_heads(tmp_path: Path) -> None:
    tiny_llama(tmp_path)
    assert kind_in(tmp_path) is DRAFT_MODEL
    for text in ('{"speculators_model_type": "hydra", "draft_vocab_size": 5}', "nonsense", "[]"):
        (tmp_path / "config.json").write_text(text)
        assert kind_in(tmp_path) is DRAFT_MODEL
    (tmp_path / "config.json").write_text('{"architectures": ["LlamaForCausalLMEagle3"]}')
    assert kind_in(tmp_path) is EAGLE
    assert kind_in(tmp_path / "nowhere") is DRAFT_MODEL


def _edit(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def _truncate(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])


def _no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def _pickle(content: bytes) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        _no_weights(folder)
        (folder / "pytorch_model.bin").write_bytes(content)

    return write


def _tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    return lambda folder: _edit(folder, change)


def _beyond(tensors: dict[str, torch.Tensor]) -> None:
    tensors["d2t"][-1] += 384


def _twice(tensors: dict[str, torch.Tensor]) -> None:
    tensors["d2t"][1] = tensors["d2t"][0] - 1


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (_truncate, "damaged or incomplete model.safetensors"),
        (_no_weights, "has no model.safetensors or pytorch_model.bin"),
        (_pickle(b""), "damaged or incomplete pytorch_model.bin"),
        (_pickle(b"PK nonsense"), "damaged or incomplete pytorch_model.bin"),
        (_tensors(lambda t: t.pop("midlayer.mlp.up_proj.weight")), "lacks the tensor 'layers.0.mlp.up_proj"),
        (
            _tensors(lambda t: t.update({"fc.weight": torch.zeros(32, 95)})),
            r"'fc.weight' of shape \[32, 95\]",
        ),
        (
            _tensors(lambda t: t.update({"midlayer.self_attn.q_norm.weight": torch.ones(8)})),
            "'layers.0.self_attn.q_norm.weight'",
        ),
        (
            _tensors(lambda t: t.update({"input_norm.weight": torch.ones(96)})),
            "'input_norm.weight'.*announce",
        ),
        (_tensors(lambda t: t.update({"d2t": torch.zeros(5, dtype=torch.long)})), "d2t of shape"),
        (_tensors(lambda t: t.update(d2t=t["d2t"].float())), "d2t of float32"),
        (_tensors(lambda t: t.update(d2t=t["d2t"].bool())), "d2t of bool"),
        (_tensors(lambda t: t.update({"a\nb": torch.ones(1)})), "holds a tensor 'a b'"),
        (_tensors(_beyond), "predicts token 625"),
        (_tensors(_twice), "twice in d2t"),
        (_tensors(lambda t: (t.pop("d2t"), t.pop("t2d"))), "no d2t that names them"),
        (_tensors(lambda t: (t.pop("d2t"), t["t2d"].fill_(True))), "marks 384 tokens in t2d"),
    ],
)
def test_bad_files_are_refused_in_one_line(
    target: Any, head: EagleHead, tmp_path: Path, spoil: Callable[[Path], None], says: str
) -> None:
    official(head, tmp_path)
    spoil(tmp_path)
    with pytest.raises(DecodingError, match=says) as caught:
        load_head(tmp_path, target, allow_pickle=True)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"target_hidden_size": 64}, "target of hidden size 64, and this one has 32"),
        ({"vocab_size": 32000}, "target of vocabulary size 32000, and this one has 384"),
        ({"eagle_aux_hidden_state_layer_ids": [2, 15, 27]}, "layers 2, 15, 27.* 6 layers"),
        ({"eagle_aux_hidden_state_layer_ids": [2, 3, 7]}, "layers 2, 3, 7 .* 6 layers"),
        ({"eagle_aux_hidden_state_layer_ids": [2, 3, -1]}, "layers 2, 3, -1 .* 6 layers"),
        ({"eagle_aux_hidden_state_layer_ids": [2, 3]}, r"'fc.weight' of shape \[32, 96\]"),
        ({"eagle_aux_hidden_state_layer_ids": [2, "3"]}, "eagle_aux_hidden_state_layer_ids is"),
        ({"num_aux_hidden_states": 4}, "num_aux_hidden_states = 4"),
        ({"num_hidden_layers": 2}, "lacks the tensor 'layers.1"),
        ({"attention_bias": True}, "lacks the tensor 'layers.0.self_attn.q_proj.bias'"),
        ({"fc_norm": True}, "lacks the tensor 'fc_norm.0.weight'"),
        ({"fc_norm": True, "norm_before_fc": True}, "both fc_norm and norm_before_fc"),
        ({"eagle_config": {"use_aux_hidden_state": False}}, "use_aux_hidden_state"),
        ({"num_key_value_heads": 3}, "num_key_value_heads = 3"),
        ({"hidden_act": "gelu"}, "hidden_act = gelu"),
        ({"layer_types": ["sliding_attention"]}, "layer_types"),
        ({"speculators_version": "0.10.1"}, "speculators_version 0.10.1"),
        ({"hidden_size": "wide"}, "wrong type: hidden_size is 'wide'"),
        ({"num_attention_heads": None}, "no num_attention_heads in its config.json"),
        ({"num_key_value_heads": 1.5}, "num_key_value_heads is '1.5', and no whole number"),
        ({"num_key_value_heads": 0}, "num_key_value_heads = 0"),
        ({"head_dim": 15}, "head_dim = 15"),
        ({"quantization_config": {"quant_method": "fp8"}}, "quantization_config .*fp8"),
        ({"rms_norm_eps": "small"}, "rms_norm_eps is 'small', and no number"),
        ({"transformer_layer_config": "x"}, "wrong type"),
        ({"rope_scaling": -1}, "wrong type"),
        ({"eagle_config": [1]}, "wrong type"),
        ({"intermediate_size": -1}, "size that no head has"),
        ({"draft_vocab_size": -1}, "size that no head has"),
        ({"head_dim": 10**12}, "size that no head has"),
        ({"hidden_size": 48, "head_dim": 8, "target_hidden_size": 32}, "48 wide.*made for another target"),
        ({"rope_scaling": {"rope_type": "longrope"}}, "'longrope' rotary"),
        ({"rope_scaling": {"rope_type": "llama3"}}, "'llama3' rotary embeddings are not described"),
        ({"intermediate_size": 65}, r"gate_proj.weight' of shape \[64, 32\]"),
        ({"architectures": ["Eagle3DeepseekV2ForCausalLM"]}, "layers of another family.*DeepseekV2"),
        ({"model_type": "qwen3_next", "speculators_model_type": "eagle3"}, "model_type = qwen3_next"),
        ({"architectures": ["Eagle3Qwen3ForCausalLM"]}, "lacks the tensor 'layers.0.self_attn.q_norm"),
    ],
)
def test_heads_for_other_targets_are_refused_in_one_line(
    target: Any, head: EagleHead, tmp_path: Path, config: dict[str, Any], says: str
) -> None:
    official(head, tmp_path, **config)
    with pytest.raises(DecodingError, match=says) as caught:
        load_head(tmp_path, target, allow_pickle=True)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("tied", "embeds"), [(False, False), (False, True), (True, True)])
@torch.inference_mode()
def test_a_head_without_an_lm_head_predicts_through_another(
    target: Any, tmp_path: Path, tied: bool, embeds: bool
) -> None:
    """Through the target's, as packed as the target's is; through its own embedding where it says that both are one."""
    made = EagleHead(tiny_head(target, draft_vocab_size=384).config)
    save_head(made, tmp_path, target_name="tiny", dtype=torch.float32)
    drop = ["lm_head.weight", *([] if embeds else ["embed_tokens.weight"])]
    _edit(tmp_path, lambda tensors: [tensors.pop(name) for name in drop])
    config = json.loads((tmp_path / "config.json").read_text())
    config["transformer_layer_config"]["tie_word_embeddings"] = tied
    (tmp_path / "config.json").write_text(json.dumps(config))
    head = load_head(tmp_path, target)
    h = torch.randn(2, 32)
    output = made.own_embedding.weight if tied and made.own_embedding else target.lm_head.weight
    assert torch.allclose(head.logits(h), head.norm(h) @ output.T, atol=1e-5)
    config["draft_vocab_size"] = 192
    (tmp_path / "config.json").write_text(json.dumps(config))
    _edit(
        tmp_path, lambda tensors: [tensors.pop("t2d"), tensors.update(d2t=torch.zeros(192, dtype=torch.long))]
    )
    with pytest.raises(DecodingError, match="no lm_head and draft_vocab_size = 192"):
        load_head(tmp_path, target)


def test_a_config_without_sizes_is_no_head(target: Any, tmp_path: Path) -> None:
    for text, says in (('{"draft_vocab_size": 5}', "has no hidden_size"), ("{", "no readable config.json")):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(DecodingError, match=says):
            load_head(tmp_path, target)


def test_a_folder_with_a_head_drafts_without_being_told_what_it_is(head: EagleHead, tmp_path: Path) -> None:
    """The whole way of a user: two folders, no flag; tuned, so with packed weights."""
    model, draft = tmp_path / "model", tmp_path / "head"
    reference = tiny_llama(model, layers=6)
    official(head, draft)
    config = RunConfig(target=str(model), draft=str(draft), tree="dynamic:6x3", max_new_tokens=12)
    decoder = SpeculativeDecoder(config)
    assert decoder.models.kind is EAGLE
    assert isinstance(decoder.models.draft, EagleHead)
    assert decoder.drafter.name == "head"
    ids = decoder.encode("Tom is a cat")
    rounds = list(decoder.generate(ids))
    assert [t for r in rounds for t in r.tokens] == greedy_reference(reference, ids, 12)
    assert all(r.tree.size == 6 for r in rounds)


def test_a_head_is_no_target(head: EagleHead, tmp_path: Path) -> None:
    """transformers would load it with random weights where it has none."""
    official(head, tmp_path)
    with pytest.raises(DecodingError, match="is an EAGLE-3 head; give it as --draft"):
        load_models(RunConfig(target=str(tmp_path)))


def test_the_embedded_head_says_when_it_is_for_another_target_or_missing(
    head: EagleHead, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_llama(tmp_path / "model")
    config = RunConfig(target=str(tmp_path / "model"), draft="eagle")
    monkeypatch.setattr("spectui.decoding.drafters.registry.EMBEDDED_HEAD", tmp_path / "nothing")
    with pytest.raises(DecodingError, match="no weights for --draft eagle; use --draft recycling"):
        load_models(config)
    official(head, tmp_path / "other", vocab_size=49152)
    monkeypatch.setattr("spectui.decoding.drafters.registry.EMBEDDED_HEAD", tmp_path / "other")
    with pytest.raises(DecodingError, match="target of vocabulary size 49152"):
        load_models(config)
