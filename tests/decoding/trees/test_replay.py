"""Protects: a replayed tree brings what a run with that tree brings, on the same text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from spectui.decoding.config import RunConfig
from spectui.decoding.engine import SpeculativeDecoder
from spectui.decoding.models.load import LoadedModels
from spectui.decoding.tokens.vocabulary import Vocabulary
from spectui.decoding.trees.advise.positions import Positions, positions_of, read_rounds
from spectui.decoding.trees.advise.replay import Replay, replay
from spectui.decoding.trees.spec import parse_tree
from spectui.decoding.worker.recorder import Recorder
from spectui.store.database import open_database
from spectui.store.reading.reader import Reader
from spectui.store.records import PromptRecord
from spectui.store.sessions import create_session
from spectui.store.writing.writer import SessionWriter
from tests.models import cut_down, tiny_llama, tiny_tokenizer

TEXTS = [
    "Why is the sky blue?",
    "Tom is a cat.",
    "9:40 plus 2 hours",
    "def merge(a, b):",
    "Something warm",
    "yes",
]
Record = Callable[[str], Positions]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> LoadedModels:
    from transformers import AutoModelForCausalLM

    target, tokenizer = tiny_llama(layers=3), tiny_tokenizer()
    folder = tmp_path_factory.mktemp("draft")
    cut_down(target, folder, 2, tokenizer)
    draft = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="sdpa").eval()
    return LoadedModels(target, draft, Vocabulary(tokenizer, [2]))


@pytest.fixture(scope="module")
def record(models: LoadedModels, tmp_path_factory: pytest.TempPathFactory) -> Record:
    """Decodes the texts with a tree, a draft model, and reads the positions back; each tree once."""
    path = tmp_path_factory.mktemp("runs") / "runs.db"
    done: dict[str, Positions] = {}

    def run(tree: str) -> Positions:
        if tree not in done:
            done[tree] = _record(path, tree, models)
        return done[tree]

    return run


def _record(path: Path, tree: str, models: LoadedModels) -> Positions:
    config = RunConfig(target="t", draft="d", tree=tree, max_new_tokens=20)
    db = open_database(path)
    session = create_session(
        db, config_json=config.to_json(), target="t", drafter="d", tree=tree,
        prompts=[PromptRecord(f"p{i}", ("a", "b")[i % 2], text) for i, text in enumerate(TEXTS)],
    )  # fmt: skip
    writer = SessionWriter(db, session)
    writer.claim()
    decoder = SpeculativeDecoder(config, models=models)
    recorder = Recorder(writer, decoder)
    for generation in writer.pending_generations():
        ids = decoder.encode(generation.prompt_text)
        writer.start_generation(generation.id, len(ids))
        for round_ in decoder.generate(ids):
            recorder.record(generation.id, round_)
        recorder.flush()
        writer.finish_generation(generation.id, "finished", finish_reason=round_.finish)
    db.close()
    with Reader(path) as reader:
        return positions_of(read_rounds(reader, session))


def replayed(positions: Positions, tree: str) -> Replay:
    return replay(positions, parse_tree(tree), lambda nodes, levels: nodes + levels)


def rounds_of(positions: Positions) -> list[int]:
    return [int(n) for n in np.bincount(positions.rounds.prompt, minlength=len(TEXTS))]


@pytest.mark.parametrize("tree", ["full:3x3", "dynamic:24x5", "dynamic:2-12x4@0.2/0.3"])
def test_the_recorded_tree_replayed_is_the_run(record: Record, tree: str) -> None:
    positions = record(tree)
    prediction = replayed(positions, tree)
    assert prediction.rounds == pytest.approx(rounds_of(positions))
    assert prediction.low_rounds == pytest.approx(prediction.rounds)
    assert prediction.high_rounds == pytest.approx(prediction.rounds)
    assert prediction.outside == 0.0
    sizes = np.bincount(positions.rounds.nodes.round, minlength=len(positions.rounds.prompt))
    levels = np.zeros(len(sizes), dtype=np.int64)
    np.maximum.at(levels, positions.rounds.nodes.round, positions.rounds.nodes.depth)
    if tree.startswith("full"):
        assert prediction.ms.sum() == pytest.approx(sizes.sum() + levels.sum())


@pytest.mark.parametrize(
    ("recorded", "tree"),
    [("full:3x3", "full:3x2"), ("full:3x3", "full:2x3"), ("full:3x3", "chain:2"), ("full:3x3", "chain:3"),
     ("full:3x3", "paths:00,1"), ("dynamic:24x5", "dynamic:6x3"), ("dynamic:24x5", "dynamic:3x2"),
     ("dynamic:24x5", "dynamic:2-12x4@0.2/0.3")],
)  # fmt: skip
def test_a_part_of_it_brings_what_a_run_with_that_part_does(record: Record, recorded: str, tree: str) -> None:
    """A draft model says the same of a place whatever tree it stands in: what is left to guess is the edge."""
    prediction = replayed(record(recorded), tree)
    truth = record(tree)
    assert prediction.outside <= 0.02
    assert prediction.tokens.sum() / prediction.rounds.sum() == pytest.approx(
        prediction.tokens.sum() / sum(rounds_of(truth)), rel=0.04
    )
    # What was not recorded lies between the bounds.
    assert prediction.low_rounds.sum() - 1e-9 <= sum(rounds_of(truth)) <= prediction.high_rounds.sum() + 1e-9


def test_averaging_over_recorded_rounds_would_ask_about_the_wrong_places(record: Record) -> None:
    """The walk over the text is closer to the run than the mean over recorded rounds, all trees together."""
    walk_error, mean_error = 0.0, 0.0
    positions = record("full:3x3")
    for tree in ("full:3x2", "full:2x3", "chain:2", "chain:3", "full:1x3"):
        truth = record(tree)
        rounds = sum(rounds_of(truth))
        prediction = replayed(positions, tree)
        shape = parse_tree(tree)
        from spectui.decoding.trees.advise.replay import _static

        accepted = _static(positions, shape).accepted[positions.is_root]  # type: ignore[arg-type]
        walk_error += abs(prediction.rounds.sum() / rounds - 1.0)
        mean_error += abs(prediction.tokens.sum() / (1.0 + accepted.mean()) / rounds - 1.0)
    assert walk_error < mean_error


def test_more_than_was_recorded_is_marked_and_bounded(record: Record) -> None:
    prediction = replayed(record("full:2x2"), "full:4x3")
    truth = rounds_of(record("full:4x3"))
    assert prediction.extrapolated
    assert prediction.low_rounds.sum() <= sum(truth) <= prediction.high_rounds.sum()
    assert prediction.low_rounds.sum() < prediction.rounds.sum() < prediction.high_rounds.sum()


def test_a_tree_that_stops_by_itself_is_not_charged_all_nodes_that_it_may_have(record: Record) -> None:
    """It goes deeper than was recorded here."""
    tree = "dynamic:2-12x4@0.05/0.1"
    prediction, truth = replayed(record("dynamic:24x1"), tree), record(tree)
    assert prediction.extrapolated
    assert prediction.nodes == pytest.approx(
        len(truth.rounds.nodes.depth) / len(truth.rounds.prompt), abs=1.5
    )


@pytest.mark.parametrize(
    ("recorded", "beyond"), [("full:3x3", True), ("paths:0,00,01,1", True), ("dynamic:24x4", False)]
)
def test_what_stood_beside_a_static_tree_was_not_recorded(
    record: Record, recorded: str, beyond: bool
) -> None:
    """However unlikely its own nodes: a tree by probabilities would have had further siblings, and that is said."""
    tree = "dynamic:2-20x4@0.02/0.05"
    prediction, truth = replayed(record(recorded), tree), sum(rounds_of(record(tree)))
    assert prediction.extrapolated is beyond
    if beyond:
        assert prediction.low_rounds.sum() <= truth <= prediction.high_rounds.sum()
    else:
        assert prediction.rounds.sum() == pytest.approx(truth, rel=0.04)


def test_an_output_of_which_little_was_recorded_takes_no_longer_than_that(record: Record) -> None:
    """It went through every place of the output, a table as long as it, four times for every tree."""
    positions = record("full:3x2")
    lengths = np.full_like(positions.rounds.length, 10**12)  # petabytes, if it were tables and not a bound
    longer = replace(positions, rounds=replace(positions.rounds, length=lengths))
    assert (replayed(longer, "full:2x2").rounds >= replayed(positions, "full:2x2").rounds - 1e-9).all()
