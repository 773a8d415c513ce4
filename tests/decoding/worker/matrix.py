"""The parts of the matrix of whole runs: every kind of draft, every way to sample, and the models they run on.

A new kind of drafter with weights is a line of `DRAFTS`, a new option of sampling one of `SAMPLINGS`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spectui.decoding.config import WITH_LOOKUP
from spectui.decoding.drafters.kind import DrafterKind
from spectui.decoding.drafters.registry import (
    DFLASH,
    DRAFT_MODEL,
    DSPARK,
    EAGLE,
    EAGLE1,
    KINDS,
    MTP,
    PARD,
    PEAGLE,
    RECYCLING,
)
from tests.decoding.drafters.toy_entry import TOY

CONTEXT = 96
SHORT = 40
"""Tokens that the target and the short draft hold."""
NEW_TOKENS = 12
END = 2


@dataclass(frozen=True)
class Kind:
    """A draft of a kind, and the trees that it may fill."""

    covers: DrafterKind
    trees: tuple[str, ...]
    folder: str = ""
    """Folder of its weights beside the target; empty for a kind without weights."""
    drawn: bool = True
    """True where it draws the children of static trees when sampling, so that its samples are its own."""
    events: tuple[str, ...] = ()
    """Kinds of the events that loading it is recorded with."""


BOTH = ("full:2x2", "dynamic:6x3")

DRAFTS = {
    "model": Kind(DRAFT_MODEL, BOTH, "draft"),
    "same model": Kind(DRAFT_MODEL, BOTH, "target"),
    "shorter context": Kind(DRAFT_MODEL, BOTH, "short", events=("draft",)),
    "head of the authors": Kind(EAGLE, BOTH, "authors"),
    "head of speculators": Kind(EAGLE, BOTH, "speculators"),
    "parallel head": Kind(PEAGLE, BOTH, "parallel"),
    "parallel model": Kind(PARD, BOTH, "pard"),
    "module": Kind(MTP, BOTH),
    "Markov head": Kind(DSPARK, BOTH, "markov"),
    "block head": Kind(DFLASH, BOTH, "block"),
    "first head": Kind(EAGLE1, BOTH, "first"),
    **{
        kind.name: Kind(kind, ("chain:3" if kind.chains_only else "recycling:6",), drawn=False)
        for kind in (*KINDS.values(), TOY)
        if kind.weights is None
    },
}

SAMPLINGS: dict[str, dict[str, Any]] = {
    "greedy": {"raw": False},
    "warm": {"temperature": 0.7, "raw": True},
    "nucleus": {"temperature": 1.0, "top_p": 0.7, "raw": False},
}
"""Options of a run. The target's own settings, see `PENALTY`, hold unless `raw`."""

GREEDY, WARM, NUCLEUS = SAMPLINGS

PENALTY = 1.3
"""The target's repetition penalty in its `generation_config.json`."""


@dataclass(frozen=True)
class Case:
    """A draft, alone or with lookup beside it, and a tree for it."""

    kind: Kind
    tree: str
    looks_up: bool
    samplings: tuple[str, ...]
    """Of `SAMPLINGS`."""

    @property
    def own_samples(self) -> bool:
        """True where samples depend on what was drafted."""
        return self.kind.drawn and not self.tree.startswith("dynamic")

    def config(self, models: Path) -> dict[str, Any]:
        """Fields of `RunConfig`."""
        draft = str(models / self.kind.folder) if self.kind.folder else self.kind.covers.name
        return {
            "target": str(models / "target"),
            "draft": draft + WITH_LOOKUP * self.looks_up,
            "tree": self.tree + "+chain:3" * self.looks_up,
            "max_new_tokens": NEW_TOKENS,
            "seed": 7,
        }


CASES = {
    f"{name}{WITH_LOOKUP * looks_up} {tree}": Case(
        kind,
        tree,
        looks_up,
        tuple(SAMPLINGS)
        if len(kind.trees) == 1
        else (GREEDY, WARM if (number + draft // 2) % 2 else NUCLEUS),
    )
    for draft, (name, kind) in enumerate(DRAFTS.items())
    for looks_up in (False, True)
    if kind.covers.lookup_beside or not looks_up
    for number, tree in enumerate(kind.trees)
    if len(kind.trees) == 1 or (number + looks_up + draft) % 2 == 0
}
"""Of a draft with two trees one is alone and one has lookup beside it, in turn: all four take twice the time, and every
draft runs with both in `tests.decoding.drafters.test_contract`. Each way to sample comes with every draft, and with
every tree alone and beside lookup: of a draft with two trees, one case is warm and the other has a nucleus."""

PROMPTS = {
    "usual": "Tom is a cat and Tom is a cat",
    "ends at once": "Stop here ~",
    "beyond the short context": "a train takes 9:40 to 12:15. " * 3,
    "near the end": "",  # filled up to a few tokens before the end of the context by `make`
    "one token": "a",
    "repeats": "def merge(a, b): merge(a, b)",
}
"""Of one session, in this order. "~" makes the end token the only likely one."""


def make(folder: Path) -> None:
    """Write the models into `folder`, and what they are to answer into ``expected.json``.

    By sampling and prompt: the tokens of transformers' `generate`, or of the plain loop that draws one after the
    other; and the prompts' texts. For a process of its own, which brings torch.
    """
    import torch
    from safetensors.torch import load_file, save_file

    from spectui.decoding.config import RunConfig
    from spectui.decoding.eagle.checkpoint import save_head
    from spectui.decoding.engine import SpeculativeDecoder
    from spectui.decoding.models.load import LoadedModels
    from spectui.decoding.tokens.vocabulary import Vocabulary
    from spectui.decoding.worker.baseline import plain_decoder
    from tests.decoding.eagle.test_checkpoint import official
    from tests.decoding.eagle.test_first import authors
    from tests.heads import module_tensors, save_block_head, tiny_block_head, tiny_head, tiny_module
    from tests.models import greedy_reference, tiny_llama, tiny_tokenizer

    torch.set_num_threads(1)
    tokenizer = tiny_tokenizer(chat=False)
    (stop,) = tokenizer.encode("~")
    target, draft, short = (tiny_llama(layers=3, context=n) for n in (CONTEXT, CONTEXT, SHORT))
    for seed, model in enumerate((draft, short)):
        torch.manual_seed(seed)
        for parameter in model.parameters():
            parameter.data += 0.02 * torch.randn_like(parameter)
    target.generation_config.repetition_penalty = PENALTY
    for name, model in (("target", target), ("draft", draft), ("short", short)):
        _end_behind(model, stop)
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    draft.config.pard_token = 383
    draft.save_pretrained(folder / "pard")
    tokenizer.save_pretrained(folder / "pard")
    weights = folder / "target" / "model.safetensors"
    save_file(load_file(weights) | module_tensors(tiny_module(target)), weights, metadata={"format": "pt"})
    tokens = list(range(0, 384, 2))
    head = tiny_head(target, tokens=tokens, feature_layers=(0, 1, 2))
    official(head, folder / "authors", eagle_aux_hidden_state_layer_ids=[0, 1, 2])
    save_head(head, folder / "speculators", target_name="tiny", dtype=torch.float32)
    parallel = tiny_head(target, tokens=tokens, feature_layers=(0, 2), mask_token=383)
    save_head(parallel, folder / "parallel", target_name="tiny", dtype=torch.float32)
    markov = tiny_block_head(target, tokens=tokens, markov="gated", markov_rank=8)
    save_block_head(markov, folder / "markov")
    save_block_head(tiny_block_head(target, tokens=tokens), folder / "block")
    authors(folder / "first", target)

    vocabulary = Vocabulary(tokenizer, [END])
    texts = dict(PROMPTS)
    while len(vocabulary.encode_prompt(texts["near the end"] + " cat")) <= CONTEXT - 5:
        texts["near the end"] += " cat"
    expected: dict[str, dict[str, list[int]]] = {}
    for sampling, options in SAMPLINGS.items():
        config = RunConfig(
            draft=RECYCLING.name, tree="recycling:6", max_new_tokens=NEW_TOKENS, seed=7, **options
        )
        plain = plain_decoder(SpeculativeDecoder(config, models=LoadedModels(target, None, vocabulary)))
        expected[sampling] = {}
        for position, (name, text) in enumerate(texts.items()):
            ids = vocabulary.encode_prompt(text)
            count = min(NEW_TOKENS, CONTEXT - len(ids))
            expected[sampling][name] = (
                [t for round_ in plain.generate(ids, position=position) for t in round_.tokens]
                if "temperature" in options
                else greedy_reference(target, ids, count)
            )
    (folder / "expected.json").write_text(json.dumps({"tokens": expected, "texts": texts}))


def _end_behind(model: Any, token: int) -> None:
    """Make the end token the only likely one behind `token`, by a dimension that nothing else writes to."""
    import torch

    embedding, head = model.get_input_embeddings().weight, model.lm_head.weight
    with torch.no_grad():
        embedding[:, 0] = 0.0
        embedding[token] = 0.0
        embedding[token, 0] = 50.0
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight[0] = 0.0
            layer.mlp.down_proj.weight[0] = 0.0
        head[END] = 0.0
        head[END, 0] = 4.0
