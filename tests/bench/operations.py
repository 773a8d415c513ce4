"""Operations that a GPU is given for the parts of a round, counted without one.

    python -m tests.bench.operations

Counted are dispatched operations that launch at least one kernel on a GPU: neither views nor allocations, while a
linear layer, an attention and an RMS norm are one each (CUDA has one kernel for each; a sort or a sum may take two).
Only what is given to `Graphs.run` counts, which is what a GPU captures and replays. The models are tiny and random:
the counts depend on the family, the depth and the width of a tree, and not on sizes.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config

from spectui.decoding.config import RunConfig
from spectui.decoding.device.graphs import Graphs
from spectui.decoding.device.model import BufferedModel
from spectui.decoding.device.rounds import DeviceRounds
from spectui.decoding.device.switch import SWITCH
from spectui.decoding.engine import SpeculativeDecoder
from spectui.decoding.models.load import LoadedModels
from spectui.decoding.target.attention import use_grouped_attention
from spectui.decoding.target.lean import use_lean_layers
from spectui.decoding.target.norms import torch_norm
from spectui.decoding.target.parts import MergedParts
from spectui.decoding.tokens.vocabulary import Vocabulary
from spectui.decoding.trees.shape import ancestor_mask
from spectui.decoding.trees.spec import recycling_shape
from tests.heads import tiny_head
from tests.models import tiny_llama, tiny_tokenizer

WHOLE = {"linear", "scaled_dot_product_attention", "rms_norm"}
"""Operations that CUDA has a kernel for, however they are composed elsewhere."""
WITHOUT_KERNEL = {"empty", "empty_like", "new_empty", "empty_strided", "_unsafe_view", "_reshape_alias"}
"""Operations beside views that launch nothing."""

ROWS = 16
PROMPT = "Tom is a cat and a cat is an animal"
SIZES: dict[str, Any] = {
    "vocab_size": 100, "hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4, "head_dim": 16,
}  # fmt: skip
FAMILIES: dict[str, Callable[[int], Any]] = {
    "Llama": lambda n: LlamaConfig(**SIZES, num_hidden_layers=n, num_key_value_heads=4),
    "Llama, grouped queries": lambda n: LlamaConfig(**SIZES, num_hidden_layers=n, num_key_value_heads=2),
    "Mistral": lambda n: MistralConfig(**SIZES, num_hidden_layers=n, num_key_value_heads=2),
    "Qwen2": lambda n: Qwen2Config(**SIZES, num_hidden_layers=n, num_key_value_heads=2),
    "Qwen3": lambda n: Qwen3Config(**SIZES, num_hidden_layers=n, num_key_value_heads=2),
}
"""Configurations by their number of layers."""
JUDGEMENTS = {
    "full:3x2, greedy": RunConfig(draft="embedded", tree="full:3x2"),
    "full:3x2, temperature 0.8": RunConfig(draft="embedded", tree="full:3x2", temperature=0.8),
    "dynamic:8x4, temperature 0.8": RunConfig(draft="embedded", tree="dynamic:8x4", temperature=0.8),
    "dynamic:8x4, temperature 0.8, top-p 0.9": RunConfig(
        draft="embedded", tree="dynamic:8x4", temperature=0.8, top_p=0.9
    ),
    "recycling:60, temperature 0.8": RunConfig(draft="recycling", tree="recycling:60", temperature=0.8),
}


class Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts operations by name."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = func._schema.name.removeprefix("aten::")
        if name not in WHOLE and _is_composite(func):  # inference mode dispatches it before it is taken apart
            with self:
                return func.decompose(*args, **kwargs or {})
        if name not in WITHOUT_KERNEL and not _is_view(func):
            self.names[name] += 1
        return func(*args, **kwargs or {})


def _is_composite(func: Any) -> bool:
    kernel = "CompositeImplicitAutograd"
    return bool(torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), kernel))


def _is_view(func: Any) -> bool:
    aliases = [result.alias_info for result in func._schema.returns]
    return bool(aliases) and all(alias is not None and not alias.is_write for alias in aliases)


@dataclass(frozen=True)
class Captured:
    """A function that was given to `graphs`, with its operations."""

    graphs: Graphs
    key: Hashable
    names: Counter[str]


@contextmanager
def counted() -> Iterator[list[Captured]]:
    """Inside, everything that is given to `Graphs.run` is counted."""
    captured: list[Captured] = []
    real = Graphs.run

    def run(self: Graphs, key: Hashable, function: Callable[[], Any]) -> Any:
        operations = Operations()

        def counting() -> Any:
            with operations:
                return function()

        out = real(self, key, counting)
        captured.append(Captured(self, key, operations.names))
        return out

    with patch.object(Graphs, "run", run):
        yield captured


@dataclass(frozen=True)
class Forward:
    """Operations of a forward: of each layer, and of all that is no layer."""

    layer: Counter[str]
    rest: Counter[str]


def forward_of(config: Callable[[int], Any], *, lean: bool = True) -> Forward:
    """A verification of `ROWS` tokens in float16, tuned as on a GPU: what a third layer adds to two.

    Layers that are not `lean` are transformers' own.
    """
    two, three = (_verification(config(layers), lean=lean) for layers in (2, 3))
    layer = three - two
    return Forward(layer, Counter({name: two[name] - 2 * layer[name] for name in two}))


def _verification(config: Any, *, lean: bool) -> Counter[str]:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").half().eval()
    use_grouped_attention(model)
    target = BufferedModel(tuned(model) if lean else model)
    target.prefill([1, 2, 3])
    shape = recycling_shape(ROWS - 1)
    with counted() as captured:
        depth = np.concatenate([[0], shape.depth])
        target.append(np.zeros(ROWS, dtype=np.int64), depth, ancestor_mask(shape.parent))
    return captured[0].names


def tuned(model: Any) -> Any:
    """`model` as it is tuned on a GPU."""
    use_grouped_attention(model)
    use_lean_layers(model, MergedParts())
    model.model.norm = torch_norm(model.model.norm)
    return model


@dataclass(frozen=True)
class OfRound:
    """Operations of what a round captures beside its forwards; None for what it does not capture."""

    judgement: int
    moves: int
    choices: tuple[int, ...]
    """Of each level of a dynamic tree, and then of the tree."""
    head_level: int | None
    """The forward of an EAGLE-3 head for one level."""


def round_of(config: RunConfig, drafts: dict[str, Any]) -> OfRound:
    """Counts of the rounds of `config` with one of the `drafts`."""
    draft = drafts.get(config.draft)
    models = LoadedModels(drafts["target"], draft, Vocabulary(tiny_tokenizer(), []))
    with patch.dict(os.environ, {SWITCH: "1"}), counted() as captured:
        decoder = SpeculativeDecoder(config.changed(max_new_tokens=8), models=models)
        list(decoder.generate(PROMPT))
    rounds, target = decoder.rounds, decoder.target
    assert isinstance(rounds, DeviceRounds)
    assert isinstance(target, BufferedModel)
    of_graphs = {id(graphs): [c for c in captured if c.graphs is graphs] for graphs in rounds.graphs}

    def most(graphs: Graphs) -> int:
        return max((each.names.total() for each in of_graphs[id(graphs)]), default=0)

    judge, *of_draft = (g for g in rounds.graphs if g not in (target.graphs, target.move_graphs))
    choices = {each.key: each.names.total() for each in (of_graphs[id(of_draft[-1])] if of_draft else [])}
    head = of_draft[0] if config.draft == "eagle" else None
    levels = [each.names.total() for each in of_graphs[id(head)]] if head is not None else []
    return OfRound(most(judge), most(target.move_graphs), tuple(choices.values()), min(levels, default=None))


def drafts() -> dict[str, Any]:
    """Tiny models: a target, a draft for it and a head."""
    target = tiny_llama(layers=4)
    return {"target": tuned(target), "embedded": tuned(tiny_llama(seed=1)), "eagle": tiny_head(target)}


def main() -> None:
    """Count and print."""
    torch.set_num_threads(1)
    print("operations of a captured verification, in a layer and beside the layers:")
    for lean in (True, False):
        for name, config in FAMILIES.items():
            forward = forward_of(config, lean=lean)
            label = name if lean else f"{name}, transformers' own"
            print(
                f"  {label:42} {forward.layer.total():5} {forward.rest.total():5}   {_listed(forward.layer)}"
            )
    models = drafts()
    print("operations of a captured judgement:")
    for name, run in JUDGEMENTS.items():
        of_round = round_of(run, models)
        print(f"  {name:42} {of_round.judgement:5}")
    print(f"moving accepted slots, of all layers:        {of_round.moves:5}")
    print("one level of a draft, beside a draft model's forward:")
    for draft in ("embedded", "eagle"):
        of_round = round_of(RunConfig(draft=draft, tree="dynamic:8x4"), models)
        *levels, tree = of_round.choices
        print(f"  choosing nodes, dynamic:8x4, {draft:13} {max(levels):5}, and the tree of all levels {tree}")
    print(f"  forward of an EAGLE-3 head                 {of_round.head_level:5}")


def _listed(names: Counter[str]) -> str:
    listed: Sequence[str] = [f"{name} {count}" if count > 1 else name for name, count in names.most_common()]
    return ", ".join(listed)


if __name__ == "__main__":
    main()
