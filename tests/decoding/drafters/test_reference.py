"""Drafters of other projects draft here what they draft there: see `reference/README.md`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spectui.decoding.config import RunConfig
from spectui.decoding.drafters.base import Setup
from spectui.decoding.drafters.eagle import EagleDrafter
from spectui.decoding.drafters.kind import DrafterKind, imported
from spectui.decoding.drafters.markov import MarkovBlock
from spectui.decoding.drafters.registry import DFLASH, DSPARK, EAGLE1, MTP, PARD, PEAGLE
from spectui.decoding.engine import SpeculativeDecoder
from spectui.decoding.models.load import LoadedModels
from spectui.decoding.target.language_model import Scored
from spectui.decoding.tokens.vocabulary import Vocabulary
from spectui.decoding.trees.spec import parse_tree
from tests.decoding.drafters.reference_cases import (
    FOLDER,
    TOLERANCE,
    DraftedSequence,
    expected,
    expected_logits,
    load,
    target_of,
)
from tests.models import tiny_tokenizer

CONFIDENT = ["dspark-anchor", "dspark-fillin-d2t", "dspark-gated-deepseek"]
EAGLE3 = ["eagle3-plain", "eagle3-fcnorm-2layers", "eagle3-1feature-nohead"]


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(params=["growing", "tuned", "fixed"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Buffers that grow, the same with weights packed for a CPU, and buffers of fixed size."""
    monkeypatch.setenv("SPECTUI_STATIC", "1" if request.param == "fixed" else "0")
    return str(request.param)


def begin(
    name: str, way: str, tree: str = "chain:3", folder: Path | None = None, kind: DrafterKind | None = None
) -> tuple[DrafterKind, DraftedSequence]:
    kind, weights = load(name, folder, kind)
    assert kind.weights is not None
    if way == "tuned" and kind.weights.tune:
        imported(kind.weights.tune)(weights)
    return kind, DraftedSequence(name, kind, weights, tree, fixed=way == "fixed")


def close(ours: torch.Tensor, key: str, name: str, tolerance: float = TOLERANCE) -> None:
    reference = expected_logits(name)[key]
    assert ours.shape == reference.shape
    assert float((ours - reference).abs().max()) < tolerance, key


@pytest.mark.parametrize("name", EAGLE3)
def test_eagle3(name: str, way: str) -> None:
    """Two paths below a root, as nodes of one tree have them, and a round after two accepted tokens."""
    _, sequence = begin(name, way)
    for context, case in expected(name)["contexts"].items():
        sequence.begin(case["committed"], case["root"])
        # A proposal feeds the pairs committed before it once: both paths are nodes of one tree.
        for which, path in case["paths"].items():
            sequence.begin(case["committed"], case["root"])
            close(sequence.logits_along(path["path"]), f"{context}.{which}.logits", name)
        sequence.begin(case["committed"], case["root"])
        drafted = sequence.tree("chain:3").token.tolist()
        assert drafted == case["paths"]["greedy"]["argmax"][:3] == case["paths"]["greedy"]["path"]
        later = case["round1"]
        sequence.accept(drafted[:2], later["root"])
        assert sequence.committed == later["committed"]
        close(sequence.logits_along([]), f"{context}.round1.logits", name)


def test_eagle1(way: str) -> None:
    """Prompts, and what stands behind them after rounds of vLLM's."""
    name = "eagle1-llama"
    kind, sequence = begin(name, way)
    assert kind is EAGLE1
    for number, case in enumerate(expected(name)["contexts"]):
        sequence.begin(case["committed"], case["root"])
        assert sequence.tree("chain:3").token.tolist() == case["drafted"]
        sequence.begin(case["committed"], case["root"])
        close(sequence.logits_along(case["drafted"][:2]), f"{number}.logits", name)


@pytest.mark.parametrize(
    ("name", "drawn_by", "depth"), [("peagle-llama-4layers", PEAGLE, 4), ("pard-qwen3", PARD, 5)]
)
def test_all_depths_in_one_forward(name: str, drawn_by: DrafterKind, depth: int, way: str) -> None:
    tree = f"chain:{depth}"
    kind, sequence = begin(name, way, tree)
    assert kind is drawn_by
    for context, rounds in expected(name)["contexts"].items():
        sequence.begin(rounds[0]["committed"], rounds[0]["root"])
        assert sequence.tree(tree).token.tolist() == rounds[0]["drafted"]
        sequence.begin(rounds[0]["committed"], rounds[0]["root"])
        for number, case in enumerate(rounds):
            assert (sequence.committed, sequence.root) == (case["committed"], case["root"])
            logits = sequence.logits_along(range(depth - 1))
            close(logits, f"{context}.round{number}.logits", name)
            assert sequence.ids(logits.argmax(-1)) == case["drafted"]
            if "then_accepted" in case:
                sequence.accept(case["drafted"][: case["then_accepted"]], case["then_bonus"])


@pytest.mark.parametrize("name", [*CONFIDENT, "dspark-rnn"])
def test_dspark(name: str, way: str) -> None:
    """Its best path, another one that begins with given tokens, and rounds behind accepted ones."""
    kind, sequence = begin(name, way)
    assert kind is DSPARK
    for context, rounds in expected(name)["contexts"].items():
        sequence.begin(rounds[0]["committed"], rounds[0]["root"])
        for number, case in enumerate(rounds):
            assert (sequence.committed, sequence.root) == (case["committed"], case["root"])
            keys, drafted = f"{context}.round{number}", case["drafted"]
            close(sequence.logits_along(drafted[:-1]), f"{keys}.logits", name)
            assert sequence.tree(f"chain:{len(drafted)}").token.tolist() == drafted
            if other := case.get("other_path"):
                logits = sequence.logits_along(other["path"][:-1])
                if number == 0:
                    close(logits, f"{keys}.other_path.logits", name)
                assert sequence.ids(logits.argmax(-1)) == other["argmax_after_each"]
            if "then_accepted" in case:
                sequence.accept(drafted[: case["then_accepted"]], case["then_bonus"])


@pytest.mark.parametrize("name", CONFIDENT)
def test_confidence_of_dspark(name: str, way: str) -> None:
    """Of a token after those before it, which one head reads and the other does not."""
    _, sequence = begin(name, way)
    drafter: Any = sequence.drafter
    for case in (rounds[0] for rounds in expected(name)["contexts"].values()):
        for path, chances in (
            (case["drafted"], case["confidence"]),
            (case["other_path"]["path"], case["other_path"]["confidence"]),
        ):
            sequence.begin(case["committed"], case["root"])
            with torch.inference_mode():
                logits, states = drafter._block(case["root"])
                block = MarkovBlock(drafter.head, logits, states, case["root"])
                ours = [float(block.confidence())]
                for depth, token in enumerate(path[:-1], start=1):
                    block.descend(torch.tensor([token]), depth, torch.tensor([0]))
                    ours.append(float(block.confidence()))
            assert ours == pytest.approx(chances, abs=TOLERANCE)


@pytest.mark.parametrize("name", ["mtp-mimo", "mtp-glm4moe"])
def test_mtp(name: str, way: str) -> None:
    """Against vLLM, whose float32 differs from transformers' by up to 5e-5 a step: hence 3e-4, as its makers say."""
    _, sequence = begin(name, way, kind=MTP)
    for number, case in enumerate(expected(name)["contexts"]):
        sequence.begin(case["committed"], case["root"])
        assert sequence.tree("chain:3").token.tolist() == case["drafted"]
        for path, keys in ((case["drafted"], f"{number}"), (case["other_path"], f"{number}.other_path")):
            sequence.begin(case["committed"], case["root"])
            close(sequence.logits_along(path[:2]), f"{keys}.logits", name, 3e-4)


def test_mtp_of_qwen3_next() -> None:
    """Of its module alone: this target's recurrent layers cannot go back, so that it is no target here."""
    name = "mtp-qwen3next"
    _, head = load(name, kind=MTP)
    target = target_of(name)

    def features(tokens: list[int]) -> torch.Tensor:
        with torch.inference_mode():
            out = target(torch.tensor([tokens]), output_hidden_states=True)
        return out.hidden_states[-1][0]  # type: ignore[no-any-return]

    for context, case in expected(name)["contexts"].items():
        for committed, root, path, keys in (
            (case["committed"], case["root"], case["drafted"], context),
            (case["committed"], case["root"], case["other_path"], f"{context}.other_path"),
            (
                case["round1"]["committed"],
                case["round1"]["root"],
                case["round1"]["drafted"],
                f"{context}.round1",
            ),
        ):
            drafter = EagleDrafter(Setup(parse_tree("chain:3"), head.config.vocab_size, "eagle", head))
            drafter.begin([*committed, root], Scored(None, features(committed)))
            logits = DraftedSequence.of(drafter, committed, root).logits_along(path[:2])
            close(logits, f"{keys}.logits", name)
            if "other" not in keys:
                assert logits.argmax(-1).tolist() == path


def altered(name: str, folder: Path, config: dict[str, Any], **changes: Any) -> Path:
    """A copy of a checkpoint with another ``config.json``."""
    shutil.copyfile(FOLDER / name / "model.safetensors", folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config | changes))
    return folder


def follow_rounds(sequence: DraftedSequence, rounds: list[Any], keys: str, name: str, depth: int = 7) -> None:
    """Round after round: the logits of a whole block, its best tokens, and then what was accepted."""
    for number, case in enumerate(rounds):
        if number == 0:
            sequence.begin(case["committed"], case["root"])
        assert (sequence.committed, sequence.root) == (case["committed"], case["root"])
        close(sequence.logits_along(list(range(depth - 1))), f"{keys}.round{number}.logits", name)
        assert sequence.tree(f"chain:{depth}").token.tolist() == case["argmax"]
        if "then_accepted" in case:
            sequence.accept(case["drafted"][: case["then_accepted"]], case["then_bonus"])


@pytest.mark.parametrize("layout", ["config.json", "speculators.json"])
def test_dflash_in_both_layouts(tmp_path: Path, layout: str, way: str) -> None:
    name = "dflash-qwen3"
    folder = altered(name, tmp_path, json.loads((FOLDER / name / layout).read_text()))
    kind, sequence = begin(name, way, folder=folder)
    assert kind is DFLASH
    for context, rounds in expected(name)["contexts"].items():
        follow_rounds(sequence, rounds, context, name)


@pytest.mark.parametrize("variant", ["sliding_causal_by_default", "is_causal_false", "is_causal_true"])
def test_dflash_with_sliding_and_causal_layers(tmp_path: Path, variant: str, way: str) -> None:
    name = "dflash-sliding"
    case = expected(name)["variants"][variant]
    config = json.loads((FOLDER / name / "config.json").read_text())
    _, sequence = begin(name, way, folder=altered(name, tmp_path, config, **case["config_change"]))
    for context, rounds in case["contexts"].items():
        follow_rounds(sequence, rounds, f"{variant}.{context}", name)


def test_dflash_with_a_vocabulary_of_its_own(way: str) -> None:
    """Its rounds take their texts from another checkpoint's."""
    name = "dflash-qwen3-speculators-d2t"
    _, sequence = begin(name, way)
    for context, rounds in expected(name)["contexts"].items():
        texts = expected("dflash-qwen3")["contexts"][context]
        keys = ("drafted", "then_accepted", "then_bonus")
        both = [case | {key: text[key] for key in keys} for case, text in zip(rounds, texts, strict=True)]
        follow_rounds(sequence, both, context, name)


def test_dflash_trained_generates_as_its_authors_code(way: str) -> None:
    """Whole texts by the real engine; there drafting begins at the second token."""
    name = "dflash-trained"
    kind, weights = load(name)
    vocabulary = Vocabulary(tiny_tokenizer(), [])
    config = RunConfig(draft="dflash", tree="chain:7", max_new_tokens=40)
    decoder = SpeculativeDecoder(config, models=LoadedModels(target_of(name), weights, vocabulary, kind))
    for case in expected(name)["generations"]:
        first, *later = case["output"]
        rounds = list(decoder.generate([*case["prompt"], first]))
        tokens = [token for round_ in rounds for token in round_.tokens]
        assert tokens[:39] == later
        produced = [len(round_.tokens) for round_ in rounds]
        there = case["produced_per_round"]
        assert produced[: len(there) - 1] == there[:-1]  # the last one was cut short there


@pytest.mark.parametrize(
    ("name", "rounds"),
    [("dflash-trained", ["a"]), ("dflash-qwen3", ["short", "long"]), ("dspark-anchor", ["short", "long"])],
)
def test_a_dynamic_tree_is_the_likeliest_prefixes(name: str, rounds: list[str], way: str) -> None:
    _, sequence = begin(name, way)
    for context in rounds:
        case = expected(name)["contexts"][context][0]
        sequence.begin(case["committed"], case["root"])
        likeliest = expected(name)["most_probable_prefixes"][f"{context}.round0"]
        tree = sequence.tree(f"dynamic:{len(likeliest)}x7")
        paths: list[list[int]] = []
        reach: list[float] = []
        for token, parent, log in zip(
            tree.token.tolist(), tree.parent.tolist(), tree.draft_logprob, strict=True
        ):
            paths.append([*(paths[parent] if parent >= 0 else []), token])
            reach.append(float(log) + (reach[parent] if parent >= 0 else 0.0))
        order = np.argsort(reach)[::-1]
        assert [reach[i] for i in order] == pytest.approx([log for _, log in likeliest], abs=1e-3)
        # Neighbours closer than rounding may swap, and the last one with the first outside.
        assert {tuple(paths[i]) for i in order[:-1]} <= {tuple(path) for path, _ in likeliest}
