"""EAGLE-1 and EAGLE-2 heads draft as a plain computation of theirs without a cache, and unfit ones are refused.

That is `reference_logits`, on transformers' own decoder layer, in every layout; beside other references,
`tests.decoding.drafters.test_reference` holds one head against vLLM.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers.models.llama.modeling_llama import LlamaConfig, LlamaDecoderLayer, LlamaRotaryEmbedding

from spectui.decoding.config import RunConfig
from spectui.decoding.device.switch import language_model
from spectui.decoding.drafters.base import Setup
from spectui.decoding.drafters.kind import imported
from spectui.decoding.drafters.registry import DRAFT_MODEL, EAGLE1, kind_in
from spectui.decoding.eagle.first_checkpoint import describe, load_first_head
from spectui.decoding.engine import SpeculativeDecoder
from spectui.decoding.errors import DecodingError
from spectui.decoding.models.described import first_head_bytes
from spectui.decoding.target.sizes import Sizes
from spectui.decoding.trees.spec import parse_tree
from tests.decoding.drafters.reference_cases import DraftedSequence
from tests.models import greedy_reference, tiny_llama

TENSORS = "model.safetensors"


@pytest.fixture(scope="module")
def target() -> Any:
    return tiny_llama(layers=3)


def authors(
    folder: Path, target: Any, *, layers: int = 1, fc_bias: bool = True, seed: int = 3, **config: Any
) -> None:
    """Write a random head as the EAGLE authors do, with a copy of the target's embedding."""
    torch.manual_seed(seed)
    width, inner = target.config.hidden_size, 48
    tensors = {"embed_tokens.weight": target.get_input_embeddings().weight.detach().clone()}
    tensors["fc.weight"] = torch.randn(width, 2 * width) * 0.1
    if fc_bias:
        tensors["fc.bias"] = torch.rand(width)
    for index in range(layers):
        shapes = {
            "q_proj": (width, width),
            "k_proj": (16, width),
            "v_proj": (16, width),
            "o_proj": (width, width),
        }
        for name, shape in shapes.items():
            tensors[f"layers.{index}.self_attn.{name}.weight"] = torch.randn(shape) * 0.1
        for name, shape in {
            "gate_proj": (inner, width),
            "up_proj": (inner, width),
            "down_proj": (width, inner),
        }.items():
            tensors[f"layers.{index}.mlp.{name}.weight"] = torch.randn(shape) * 0.1
        tensors[f"layers.{index}.post_attention_layernorm.weight"] = 0.5 + torch.rand(width)
        if index:
            tensors[f"layers.{index}.input_layernorm.weight"] = 0.5 + torch.rand(width)
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / TENSORS)
    sizes = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "num_hidden_layers": layers,
        "hidden_size": width, "intermediate_size": inner, "num_attention_heads": 4, "num_key_value_heads": 2,
        "vocab_size": target.config.vocab_size, "rms_norm_eps": 1e-6, "max_position_embeddings": 512, "rope_theta": 5e4,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(sizes | config))


def as_vllm(folder: Path) -> None:
    """Wrap the configuration as vLLM's converter does, which adds the target's LM head."""
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps({"model_type": "eagle", "model": config | {"eagle_fc_bias": True}})
    )


def as_speculators(folder: Path) -> None:
    """The layout of `speculators` 0.1 to 0.8."""
    layer = json.loads((folder / "config.json").read_text())
    config: dict[str, Any] = {"architectures": ["EagleSpeculator"], "speculators_model_type": "eagle"}
    config |= {"speculators_version": "0.1.0", "fusion_bias": True, "layernorms": False}
    (folder / "config.json").write_text(json.dumps(config | {"transformer_layer_config": layer}))
    edit(
        folder,
        lambda tensors: {
            name.replace("layers.0.", "transformer.").replace("fc.", "fusion_fc."): tensor
            for name, tensor in tensors.items()
            if "embed" not in name
        },
    )


def edit(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    tensors = load_file(folder / TENSORS)
    changed = change(tensors)
    save_file(changed if isinstance(changed, dict) else tensors, folder / TENSORS)


LAYOUTS = {"authors": lambda _: None, "vllm": as_vllm, "speculators": as_speculators}


@torch.inference_mode()
def reference_logits(
    folder: Path, target: Any, committed: list[int], root: int, path: list[int]
) -> torch.Tensor:
    """Logits after the root and each token of `path`: the whole sequence once more for each of them."""
    stored, config = load_file(folder / TENSORS), json.loads((folder / "config.json").read_text())
    described = LlamaConfig(**config, attn_implementation="eager")
    layers = []
    for index in range(described.num_hidden_layers):
        layer: Any = LlamaDecoderLayer(described, index).eval()
        if index == 0:
            layer.input_layernorm = torch.nn.Identity()
        prefix = f"layers.{index}."
        layer.load_state_dict(
            {name[len(prefix) :]: t for name, t in stored.items() if name.startswith(prefix)}
        )
        layers.append(layer)
    rotary = LlamaRotaryEmbedding(described)
    states = target(torch.tensor([committed]), output_hidden_states=True).hidden_states[-1][0]
    tokens, rows = [*committed[1:], root], []
    for token in [*path, None]:
        embeds = target.get_input_embeddings()(torch.tensor(tokens))
        h = torch.cat([embeds, states], dim=-1) @ stored["fc.weight"].T + stored.get(
            "fc.bias", torch.tensor(0.0)
        )
        positions = torch.arange(len(tokens))[None]
        mask = torch.full((len(tokens), len(tokens)), -torch.inf).triu(1)[None, None]
        h = h[None]
        for layer in layers:
            h = layer(
                h, attention_mask=mask, position_ids=positions, position_embeddings=rotary(h, positions)
            )
        rows.append(target.get_output_embeddings()(h[0, -1]))
        if token is not None:
            tokens, states = [*tokens, token], torch.cat([states, h[0, -1:]])
    return torch.stack(rows)


@pytest.mark.parametrize("way", ["growing", "tuned", "fixed"])
@pytest.mark.parametrize(
    ("layout", "layers"), [("authors", 1), ("authors", 2), ("vllm", 1), ("speculators", 1)]
)
def test_it_drafts_as_a_computation_without_a_cache(
    target: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str, layers: int, way: str
) -> None:
    """Two paths below a root, then behind accepted tokens, in every layout."""
    plain, folder = tmp_path / "plain", tmp_path / "head"
    for each in (plain, folder):
        authors(each, target, layers=layers)
    LAYOUTS[layout](folder)
    kind = kind_in(folder)
    assert kind is EAGLE1
    assert kind.weights is not None
    monkeypatch.setenv("SPECTUI_STATIC", "1" if way == "fixed" else "0")
    head = load_first_head(folder, target)
    if way == "tuned":
        imported(kind.weights.tune)(head)
    drafter = imported(kind.device_build if way == "fixed" else kind.build)(
        Setup(parse_tree("chain:3"), 384, "head", head)
    )
    sequence = DraftedSequence.of(drafter, [], 0)
    sequence.target = language_model(target, drafter.feature_layers)
    committed, root = [5, 80, 33, 210, 7, 91, 300], 44
    for path in ([17, 350], [9, 9]):
        sequence.begin(committed, root)
        reference = reference_logits(plain, target, committed, root, path)
        assert torch.allclose(sequence.logits_along(path), reference, atol=1e-4)
    sequence.begin(committed, root)
    assert sequence.tree("chain:3").token.tolist()[0] == int(
        reference_logits(plain, target, committed, root, []).argmax()
    )
    sequence.accept([17, 350], 12)
    reference = reference_logits(plain, target, sequence.committed, sequence.root, [3])
    assert torch.allclose(sequence.logits_along([3]), reference, atol=1e-4)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_folder_drafts_losslessly(tmp_path: Path, layout: str) -> None:
    model, folder = tmp_path / "model", tmp_path / "head"
    reference = tiny_llama(model)
    authors(folder, reference)
    LAYOUTS[layout](folder)
    decoder = SpeculativeDecoder(
        RunConfig(target=str(model), draft=str(folder), tree="dynamic:6x3", max_new_tokens=10)
    )
    assert decoder.models.kind is EAGLE1
    ids = decoder.encode("Tom is a cat")
    tokens = [token for round_ in decoder.generate(ids) for token in round_.tokens]
    assert tokens == greedy_reference(reference, ids, 10)


def test_what_the_target_has_is_borrowed_and_anything_else_is_kept(target: Any, tmp_path: Path) -> None:
    authors(tmp_path, target)
    edit(
        tmp_path,
        lambda tensors: tensors.update({"lm_head.weight": target.lm_head.weight.detach().clone()}),
    )
    head = load_first_head(tmp_path, target)
    assert head.own_embedding is None
    assert head.lm_head is None
    edit(tmp_path, lambda tensors: tensors["lm_head.weight"].mul_(2.0))
    assert load_first_head(tmp_path, target).lm_head is not None


def test_biases_of_qwen2_are_read(target: Any, tmp_path: Path) -> None:
    authors(tmp_path, target, fc_bias=False, model_type="qwen2", architectures=["Qwen2ForCausalLMEagle"])
    biases = {
        f"layers.0.self_attn.{name}_proj.bias": torch.ones(size)
        for name, size in (("q", 32), ("k", 16), ("v", 16))
    }
    edit(tmp_path, lambda tensors: tensors.update(biases))
    layer = load_first_head(tmp_path, target).layers[0]
    assert layer.v_proj.bias.tolist() == [1.0] * 16
    assert not layer.o_proj.bias.any()


def test_the_authors_head_for_mixtral_has_layers_of_llama(target: Any, tmp_path: Path) -> None:
    authors(tmp_path / "one", target, model_type="mixtral")
    authors(tmp_path / "other", target)
    assert (
        load_first_head(tmp_path / "one", target).config == load_first_head(tmp_path / "other", target).config
    )


def test_it_is_described_and_counted(target: Any, tmp_path: Path) -> None:
    authors(tmp_path, target)
    sizes = Sizes(layers=3, heads=4, hidden=32, inner=64, vocab=384, context=512, cached=96)
    words = describe(tmp_path, sizes)
    assert words.startswith(
        "an EAGLE-1 or EAGLE-2 head in its authors' layout; for a target of hidden size 32 and 384"
    )
    assert 0 < first_head_bytes(tmp_path) < (tmp_path / TENSORS).stat().st_size
    with pytest.raises(DecodingError, match="hidden size 32, and this one has 64"):
        describe(tmp_path, replace(sizes, hidden=64))


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"layernorms": True}, "layernorms = True"),
        ({"add_para_norm": True}, "add_para_norm = True"),
        ({"model_type": "cohere"}, "model_type = cohere"),
        ({"draft_vocab_size": 100, "architectures": ["LlamaForCausalLMEagle"]}, "draft_vocab_size = 100"),
        ({"truncated_vocab_size": 100}, "truncated_vocab_size = 100"),
        ({"bias": False}, "bias = False in its config.json and a tensor 'fc.bias'"),
        ({"vocab_size": 500}, "vocabulary size 500, and this one has 384"),
        ({"hidden_size": 64}, "hidden size 64, and this one has 32"),
        ({"vocab_size": None}, "no vocab_size in its config.json"),
        ({"num_attention_heads": 3}, "num_attention_heads = 3"),
        ({"num_hidden_layers": 2}, "lacks the tensor 'layers.1"),
    ],
)
def test_unfit_heads_are_refused_by_their_key(
    target: Any, tmp_path: Path, config: dict[str, Any], says: str
) -> None:
    authors(tmp_path, target, **config)
    with pytest.raises(DecodingError, match=says) as caught:
        load_first_head(tmp_path, target)
    assert "\n" not in str(caught.value)


def test_half_a_file_and_pickles_are_refused(target: Any, tmp_path: Path) -> None:
    authors(tmp_path, target)
    edit(tmp_path, lambda tensors: tensors.pop("fc.weight"))
    with pytest.raises(DecodingError, match=r"lacks the tensor 'fc.weight'"):
        load_first_head(tmp_path, target)
    torch.save(load_file(tmp_path / TENSORS), tmp_path / "pytorch_model.bin")
    (tmp_path / TENSORS).unlink()
    with pytest.raises(DecodingError, match="pickled weights"):
        load_first_head(tmp_path, target)


def test_a_llama_of_one_layer_is_a_model(tmp_path: Path) -> None:
    tiny_llama(tmp_path, layers=1)
    assert kind_in(tmp_path) is DRAFT_MODEL
    (tmp_path / "config.json").write_text('{"architectures": ["Eagle2_5_VLForConditionalGeneration"]}')
    assert kind_in(tmp_path) is DRAFT_MODEL
