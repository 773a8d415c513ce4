"""A DSpark head's confidence ends a dynamic tree: nodes that it trusts too little are left out, all others stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from spectui.decoding.config import RunConfig
from spectui.decoding.device.switch import language_model
from spectui.decoding.drafters.base import Setup
from spectui.decoding.drafters.kind import imported
from spectui.decoding.drafters.markov import MarkovBlock
from spectui.decoding.drafters.registry import DSPARK
from spectui.decoding.engine import SpeculativeDecoder
from spectui.decoding.errors import UsageError
from spectui.decoding.trees.shape import ROOT, TokenTree
from spectui.decoding.trees.spec import parse_tree
from tests.decoding.drafters.reference_cases import DraftedSequence
from tests.heads import save_block_head, tiny_block_head
from tests.models import greedy_reference, tiny_llama


@pytest.fixture(scope="module")
def target() -> Any:
    return tiny_llama(layers=3)


def dspark(target: Any, **changes: Any) -> Any:
    head: Any = tiny_block_head(target, markov="rnn", markov_rank=8, anchored=True, confident=True, **changes)
    with torch.no_grad():
        head.confidence_head.proj.weight.mul_(0.3)
        head.confidence_head.proj.bias.fill_(0.5)
    return head


def paths(tree: TokenTree) -> set[tuple[int, ...]]:
    out: list[tuple[int, ...]] = []
    for token, parent in zip(tree.token.tolist(), tree.parent.tolist(), strict=True):
        out.append((*(() if parent == ROOT else out[parent]), token))
    return set(out)


@torch.inference_mode()
def trust(drafter: Any, root: int, path: tuple[int, ...]) -> float:
    """The product of the head's confidences down to the last token of `path`, by that path alone."""
    logits, states = drafter._block(root)
    block = MarkovBlock(drafter.head, logits, states, root)
    chance = float(block.confidence())
    for depth, token in enumerate(path[:-1], start=1):
        block.descend(torch.tensor([token]), depth, torch.tensor([0]))
        chance *= float(block.confidence())
    return chance


@pytest.mark.parametrize("reads", [True, False])
@pytest.mark.parametrize("way", ["growing", "fixed"])
def test_a_tree_ends_where_the_head_trusts_it_too_little(
    target: Any, monkeypatch: pytest.MonkeyPatch, way: str, reads: bool
) -> None:
    monkeypatch.setenv("SPECTUI_STATIC", "1" if way == "fixed" else "0")
    head = dspark(target, confidence_reads_token=reads, output_multiplier=4.0, seed=4)
    build = imported(DSPARK.device_build if way == "fixed" else DSPARK.build)
    drafter = build(Setup(parse_tree("dynamic:24x4"), 384, "dspark", head))
    sequence = DraftedSequence.of(drafter, [], 0)
    sequence.target = language_model(target, drafter.feature_layers)

    def tree(spec: str) -> set[tuple[int, ...]]:
        sequence.begin([5, 80, 33, 210, 7, 91], 44)
        drafter.use(parse_tree(spec))
        proposed = drafter.propose_tensors(44, 4) if way == "fixed" else drafter.propose(44, 4)
        if way == "growing":
            return paths(proposed)
        valid = proposed.valid.tolist()
        parents = proposed.index.parent.tolist()
        assert all(valid[parent] for node, parent in enumerate(parents) if valid[node] and parent != ROOT)
        everywhere: list[tuple[int, ...]] = []
        for token, parent in zip(proposed.token.tolist(), parents, strict=True):
            everywhere.append((*(() if parent == ROOT else everywhere[parent]), token))
        return {path for path, there in zip(everywhere, valid, strict=True) if there}

    whole = tree("dynamic:24x4")
    chances = {path: trust(drafter, 44, path) for path in whole}
    limits = sorted(set(chances.values()))
    assert len(limits) > (3 if reads else 1)
    for limit in {limits[1], limits[len(limits) // 2], limits[-1]}:
        limited = tree(f"dynamic:24x4~{limit - 1e-6:.9f}")
        assert all(trust(drafter, 44, path) >= limit - 1e-5 for path in limited)
        assert {path for path, chance in chances.items() if chance >= limit} <= limited
        assert not {path for path, chance in chances.items() if chance < limit - 1e-5} & limited
    assert tree("dynamic:24x4~1") == set()


def test_a_folder_drafts_losslessly_to_its_limit(tmp_path: Path) -> None:
    model, folder = tmp_path / "model", tmp_path / "head"
    reference = tiny_llama(model)
    save_block_head(dspark(reference), folder)

    def rounds(tree: str) -> list[Any]:
        config = RunConfig(target=str(model), draft=str(folder), tree=tree, max_new_tokens=16)
        decoder = SpeculativeDecoder(config)
        ids = decoder.encode("Tom is a cat")
        made = list(decoder.generate(ids))
        assert [token for round_ in made for token in round_.tokens] == greedy_reference(reference, ids, 16)
        return made

    sizes = [
        [round_.tree.size for round_ in rounds(tree)] for tree in ("dynamic:6x3", "dynamic:2-6x3@0.01/0~0.6")
    ]
    assert sum(sizes[1]) / len(sizes[1]) < sum(sizes[0]) / len(sizes[0])


def test_a_draft_without_a_confidence_head_is_told_so(target: Any) -> None:
    head = tiny_block_head(target, markov="vanilla", markov_rank=8)
    with pytest.raises(UsageError, match=r"~0.4, or draft with a DSpark head .*enable_confidence_head"):
        imported(DSPARK.build)(Setup(parse_tree("dynamic:6x3~0.4"), 384, "dspark", head))
