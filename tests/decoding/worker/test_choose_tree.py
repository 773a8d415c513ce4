"""A run without a tree gets one that fits the machine, once; a run with a tree keeps it."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from weakref import WeakSet

import numpy as np
import pytest

from spectui.decoding.config import CHAIN_BESIDE, RunConfig
from spectui.decoding.device.model import BufferedModel
from spectui.decoding.drafters.kind import DrafterKind
from spectui.decoding.drafters.registry import EAGLE, KINDS, PARD
from spectui.decoding.engine import SpeculativeDecoder
from spectui.decoding.errors import UsageError
from spectui.decoding.models.load import LoadedModels, load_models
from spectui.decoding.rounds import Round
from spectui.decoding.target.language_model import Scored
from spectui.decoding.tokens.vocabulary import Vocabulary
from spectui.decoding.trees import costs
from spectui.decoding.trees.candidates import MOST_DEPTH
from spectui.decoding.trees.costs import Costs, Timing
from spectui.decoding.trees.shape import IntArray
from spectui.decoding.trees.spec import parse_tree
from spectui.decoding.worker import choose_tree as auto_tree
from spectui.decoding.worker import measure_acceptance, measure_costs
from spectui.decoding.worker.choose_tree import costs_of, with_tree
from spectui.decoding.worker.measure import stage_printer
from spectui.decoding.worker.measure_acceptance import measured_profile, profile_of_ranks
from spectui.decoding.worker.measure_costs import (
    DRAFT_ROUNDS,
    DRAFT_TREES,
    QUICK_ROWS,
    ROWS,
    machine,
    measure,
)
from tests.decoding.drafters.reference_cases import FOLDER
from tests.heads import tiny_head
from tests.models import greedy_reference, tiny_llama, tiny_tokenizer


@pytest.fixture(scope="module")
def models() -> LoadedModels:
    return LoadedModels(tiny_llama(), None, Vocabulary(tiny_tokenizer(), [2]))


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPECTUI_CACHE", str(tmp_path))
    monkeypatch.delenv("SPECTUI_MEASURE", raising=False)


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measuring fails the test."""

    def fail(*_: Any, **__: Any) -> Costs:
        raise AssertionError("measured")

    monkeypatch.setattr(auto_tree, "measure", fail)


def test_every_size_is_measured_and_progress_is_reported(models: LoadedModels) -> None:
    stages: list[tuple[str, float, float]] = []

    def progress(stage: str, done: float | None, total: float | None, unit: str) -> None:
        assert done is not None
        assert total is not None
        stages.append((stage, done, total))

    measured = measure(RunConfig(draft="recycling"), models, progress)
    assert set(QUICK_ROWS) <= set(measured.verify)
    assert list(measured.verify) == sorted(measured.verify)
    for timing in (*measured.verify.values(), *measured.draft.values(), measured.other):
        assert 0.0 < timing.low <= timing.median <= timing.high
    assert measured.machine == machine(RunConfig(draft="recycling"), models)
    assert len({stage for stage, *_ in stages}) == 1
    assert [done for _, done, _ in stages] == sorted(done for _, done, _ in stages)
    assert all(done < total for _, done, total in stages)


def test_drafting_is_timed_where_every_level_is_in_the_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dynamic tree is less deep than what was looked at for it, and its levels would seem slow."""
    target, rounds = tiny_llama(layers=4), []

    class Watched(SpeculativeDecoder):
        def generate(self, *a: Any, **k: Any) -> Iterator[Round]:
            for round_ in super().generate(*a, **k):
                rounds.append(round_)
                yield round_

    monkeypatch.setattr(measure_costs, "SpeculativeDecoder", Watched)
    models = LoadedModels(target, tiny_head(target), Vocabulary(tiny_tokenizer(), [2]))
    measured = measure(RunConfig(draft="eagle"), models)
    levels = sorted(parse_tree(tree).max_depth for tree in DRAFT_TREES)
    assert list(measured.draft) == levels
    assert {int(r.tree.depth.max()) for r in rounds if r.tree.size} == set(levels)
    for depth, timing in measured.draft.items():
        timed = [r.draft_ms for r in rounds if r.tree.size and r.tree.depth.max() == depth]
        assert timing.count >= DRAFT_ROUNDS
        assert min(timed) <= timing.median <= max(timed)


def test_what_rounds_run_on_is_what_is_timed(models: LoadedModels, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forwards of fixed sizes, which a GPU captures, are timed as such: another path's time is no use."""
    rows: list[int] = []
    append = BufferedModel.append

    def watched(self: BufferedModel, tokens: IntArray, *a: Any) -> Scored:
        rows.append(len(tokens))
        return append(self, tokens, *a)

    monkeypatch.setattr(BufferedModel, "append", watched)
    config = RunConfig(draft="recycling")
    measure(config, models)
    assert not rows
    other = machine(config, models)
    monkeypatch.setenv("SPECTUI_STATIC", "1")
    assert set(QUICK_ROWS) <= set(measure(config, models).verify) <= set(rows)
    assert machine(config, models) != other


def test_decoders_of_fixed_sizes_are_not_in_memory_together(
    models: LoadedModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has a cache of the target's and one of the draft's, which a card that fits the run may not fit five of."""
    alive, most = WeakSet[BufferedModel](), list[int]()
    init = BufferedModel.__init__

    def watched(self: BufferedModel, *a: Any) -> None:
        alive.add(self)
        most.append(len(alive))
        init(self, *a)

    monkeypatch.setenv("SPECTUI_STATIC", "1")
    monkeypatch.setattr(BufferedModel, "__init__", watched)
    monkeypatch.setattr(measure_costs, "QUICK_PASSES", 1)
    monkeypatch.setattr(measure_costs, "DRAFT_ROUNDS", 2)
    pair = LoadedModels(models.target, models.target, models.tokenizer)
    measured = measure(RunConfig(draft="some-draft"), pair)
    assert len(most) > 2 * len(measured.draft)
    assert max(most) == 2
    assert min(timing.count for timing in measured.draft.values()) >= 2


def test_the_rest_of_a_round_grows_with_its_nodes(
    models: LoadedModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plain decoding must not be charged what the nodes of a tree take, or every tree seems to gain."""

    def rounds(config: RunConfig, _: Any) -> Iterator[Any]:
        nodes = config.shape().size if config.speculate else 0
        tree = SimpleNamespace(size=nodes, depth=np.arange(nodes) + 1)
        return itertools.repeat(SimpleNamespace(tree=tree, draft_ms=2.0 * nodes, other_ms=0.25 + 0.5 * nodes))

    monkeypatch.setattr(measure_costs, "_rounds", rounds)
    measured = measure(RunConfig(draft="recycling"), models)
    assert [measured.other_ms(n) for n in (0, 1, 4)] == pytest.approx([0.25, 0.75, 2.25])
    assert measured.round_ms(4, 2) - measured.verify_ms(5) == pytest.approx(2.25 + measured.draft_ms(2))


def test_a_context_too_short_for_the_usual_prefix_is_measured_too() -> None:
    small = LoadedModels(tiny_llama(context=40), tiny_llama(context=40), Vocabulary(tiny_tokenizer(), [2]))
    measured = measure(RunConfig(draft="some-draft"), small, thorough=True)
    assert set(ROWS) <= set(measured.verify)
    assert max(measured.verify) == max(ROWS)
    assert measured.prefix + max(ROWS) <= 40


def test_a_run_with_a_tree_or_without_speculation_is_left_alone(
    models: LoadedModels, unmeasured: None
) -> None:
    for config in (RunConfig(tree="chain:3"), RunConfig(speculate=False)):
        assert with_tree(config, models) == config


@pytest.mark.parametrize("busy", [False, True])
def test_a_second_start_measures_nothing_unless_the_first_was_disturbed(
    models: LoadedModels, monkeypatch: pytest.MonkeyPatch, busy: bool
) -> None:
    config = RunConfig(draft="recycling")
    calls = []

    def measured(*_: Any, **__: Any) -> Costs:
        calls.append(1)
        verify = {n: Timing(10.0 + n, 9.0, 90.0 if busy else 11.0, 3) for n in QUICK_ROWS}
        little = Timing(0.1, 0.1, 0.1, 3)
        return Costs(machine(config, models), verify, {1: little}, little, 150, "now")

    monkeypatch.setattr(auto_tree, "measure", measured)
    first = with_tree(config, models)
    assert with_tree(config, models) == first
    assert len(calls) == 1 + busy


def test_kept_costs_decide_the_tree_and_the_output_stays_right(
    models: LoadedModels, unmeasured: None
) -> None:
    """On a machine whose rows cost nothing the tree is large, on one whose rows are dear it is small."""
    config = RunConfig(draft="lookup", max_new_tokens=16)
    tiny = Timing(0.1, 0.1, 0.1, 3)
    sizes = []
    for dear in (10.0, 400.0):
        verify = {1: Timing(10.0, 10.0, 10.0, 3), 24: Timing(dear, dear, dear, 3)}
        costs.save(Costs(machine(config, models), verify, {1: tiny}, tiny, 150, "now"))
        chosen = with_tree(config, models)
        sizes.append(chosen.shape().size)
        decoder = SpeculativeDecoder(chosen, models=models)
        ids = decoder.encode("Tom is a cat")
        output = [t for r in decoder.generate(ids) for t in r.tokens]
        assert output == greedy_reference(models.target, ids, 16)
    assert sizes[0] > sizes[1]


def test_asking_for_a_choice_is_as_asking_for_no_tree(models: LoadedModels, unmeasured: None) -> None:
    """Beside a lookup, its chain may be named all the same."""
    tiny = Timing(0.1, 0.1, 0.1, 3)
    for draft in ("lookup", "recycling+lookup"):
        none, asked = RunConfig(draft=draft), RunConfig(draft=draft, tree="auto")
        verify = {rows: Timing(10.0 + rows, 10.0, 30.0, 3) for rows in (1, 24)}
        costs.save(Costs(machine(none, models), verify, {1: tiny}, tiny, 150, "now"))
        assert with_tree(asked, models) == with_tree(none, models)
    chosen = with_tree(RunConfig(draft="recycling+lookup", tree="auto+chain:5"), models).tree
    assert chosen == "recycling:8+chain:5"


def test_the_same_trees_on_every_machine_when_asked(
    models: LoadedModels, unmeasured: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPECTUI_MEASURE", "0")
    assert with_tree(RunConfig(draft="recycling"), models).tree == "recycling:8"


@pytest.mark.parametrize("draft", ["recycling", "lookup", "recycling+lookup"])
def test_a_named_drafter_gets_a_tree_it_can_fill(models: LoadedModels, draft: str) -> None:
    chosen = with_tree(RunConfig(draft=draft, max_new_tokens=12), models)
    assert chosen.tree == chosen.tree_spec
    assert ("+chain:" in chosen.tree) == chosen.looks_up
    decoder = SpeculativeDecoder(chosen, models=models)
    ids = decoder.encode("Tom is a cat")
    output = [t for r in decoder.generate(ids) for t in r.tokens]
    assert output == greedy_reference(models.target, ids, 12)


def test_lookup_beside_a_drafter_shares_its_record(models: LoadedModels, unmeasured: None) -> None:
    assert machine(RunConfig(draft="recycling"), models) == machine(
        RunConfig(draft="recycling+lookup"), models
    )


def save_costs(config: RunConfig, models: LoadedModels) -> None:
    """Of a machine on which rows cost little and a level a twentieth of a forward."""
    verify = {rows: Timing(10.0 + 0.2 * rows, 10.0, 30.0, 3) for rows in (1, 24)}
    little = Timing(0.5, 0.5, 0.5, 3)
    costs.save(Costs(machine(config, models), verify, {1: little}, little, 150, "now"))


@pytest.mark.parametrize("static", ["0", "1"])
def test_a_draft_model_nothing_is_known_of_is_measured(
    models: LoadedModels, unmeasured: None, monkeypatch: pytest.MonkeyPatch, static: str
) -> None:
    """One that is always right gets the deepest chain, one that is never right a small tree; on either path."""
    monkeypatch.setenv("SPECTUI_STATIC", static)
    monkeypatch.setattr(measure_acceptance, "TOKENS", 40)
    config = RunConfig(draft="some-draft")
    depths = []
    for draft in (models.target, tiny_llama(seed=5)):
        pair = replace(models, draft=draft)
        save_costs(config, pair)
        depths.append(with_tree(config, pair).shape().max_depth)
    assert depths[0] == MOST_DEPTH
    assert depths[1] <= 2
    monkeypatch.setenv("SPECTUI_MEASURE", "0")
    assert with_tree(config, pair).tree == "full:3x2"


def test_a_pairs_acceptance_is_kept_until_its_files_change(
    unmeasured: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [str(tmp_path / "target"), str(tmp_path / "draft")]
    target, draft = (tiny_llama(Path(name), seed=seed) for seed, name in enumerate(names))
    pair = LoadedModels(target, draft, Vocabulary(tiny_tokenizer(), [2]))
    config = RunConfig(target=names[0], draft=names[1])
    monkeypatch.setattr(measure_acceptance, "TOKENS", 8)
    stages: list[str] = []

    def measured() -> Any:
        stages.clear()
        return measured_profile(config, pair, lambda stage, *_: stages.append(stage))

    first = measured()
    assert stages
    assert measured() == first
    assert not stages
    tiny_llama(Path(names[1]), seed=7)
    measured()
    assert stages


def test_ranks_are_counted_as_rounds_would_meet_them() -> None:
    """A round ends behind the first token that was not the best, and depths that few reach stand for none."""
    profile = profile_of_ranks([[0, 0, 1, 0, 2, 9]] * 25)
    assert len(profile.hits) == 3
    assert profile.hits[0][:3] == pytest.approx((2 / 3, 0.0, 0.0))
    assert profile.hits[1][:3] == pytest.approx((1 / 2, 0.0, 1 / 2))
    assert profile.hits[2][:3] == pytest.approx((0.0, 1.0, 0.0))


def test_the_profile_beside_a_draft_decides_its_tree(models: LoadedModels, tmp_path: Path) -> None:
    (tmp_path / "profile.json").write_text('{"rank_share": [[0.9]]}')
    pair = replace(models, draft=models.target, draft_folder=tmp_path)
    assert with_tree(RunConfig(draft="some-draft"), pair).tree.startswith("chain:")
    weights = tiny_head(models.target, feature_layers=(0, 1, 1))
    head = replace(models, draft=weights, kind=EAGLE, draft_folder=tmp_path)
    assert with_tree(RunConfig(draft="some-head"), head).tree.startswith("dynamic:")


def test_a_block_head_gets_a_tree_that_its_block_fills(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DSpark's default is 6 deep, and this head drafts 5: without ``--tree`` by default, by cost, and where costs are
    measured. A tree that was asked for is refused."""
    target, head = tmp_path / "target", tmp_path / "head"
    for folder, name in ((target, "target-qwen3"), (head, "dspark-rnn")):
        shutil.copytree(FOLDER / name, folder)
    tiny_tokenizer(vocab_size=400).save_pretrained(target)
    config = RunConfig(target=str(target), draft=str(head), max_new_tokens=8)
    models = load_models(config)
    default = with_tree(config, models)
    assert (default.tree, models.deepest) == ("chain:5", 5)
    assert len(measure(config, models).draft) == 4
    (head / "profile.json").write_text('{"rank_share": [[0.99]]}')
    save_costs(config, models)
    chosen = with_tree(config, models)
    assert chosen.shape().max_depth == 5
    (head / "profile.json").write_text('{"trees": {"chain:6": 6.0, "chain:2": 1.0}}')
    assert with_tree(config, models).tree == "chain:2"
    outputs = [
        [
            token
            for round_ in SpeculativeDecoder(each, models=models).generate([5, 6, 7])
            for token in round_.tokens
        ]
        for each in (default, chosen, config.changed(speculate=False))
    ]
    assert outputs[0] == outputs[1] == outputs[2]
    with pytest.raises(UsageError, match="6 deep"):
        SpeculativeDecoder(with_tree(config.changed(tree="chain:6"), models), models=models)


def test_a_draft_that_reads_a_text_better_than_it_drafts_keeps_its_default_tree(
    models: LoadedModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PARD drafts its deeper levels from mask tokens: what it makes of a text says nothing of them."""

    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("measured")

    monkeypatch.setattr(auto_tree, "measured_profile", fail)
    pair = replace(models, draft=models.target, kind=PARD)
    assert with_tree(RunConfig(draft="some-draft"), pair).tree == PARD.default_tree


@pytest.mark.parametrize(
    "kind", [kind for kind in KINDS.values() if kind.is_head], ids=lambda kind: str(kind.name)
)
@pytest.mark.parametrize("draft", ["some-folder", "some-folder+lookup"])
def test_a_head_without_a_profile_takes_the_default_tree_of_its_kind(
    models: LoadedModels, kind: DrafterKind, draft: str
) -> None:
    """EAGLE-3, too, whose name stands for another head."""
    pair = replace(models, draft=models.target, kind=kind)
    tree = with_tree(RunConfig(draft=draft), pair).tree_spec
    assert tree.partition(CHAIN_BESIDE)[0] == kind.default_tree


def test_a_cache_that_cannot_be_written_is_no_reason_to_fail(
    models: LoadedModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SPECTUI_CACHE", str(tmp_path / "file"))
    assert with_tree(RunConfig(draft="recycling"), models).tree


def test_a_thorough_measurement_replaces_the_kept_one(models: LoadedModels) -> None:
    config = RunConfig(draft="recycling")
    costs_of(config, models)
    measured = costs_of(config, models, thorough=True)
    assert set(ROWS) <= set(measured.verify)
    assert costs_of(config, models) == measured


def test_models_of_another_architecture_are_another_machine(models: LoadedModels) -> None:
    other = replace(models, target=tiny_llama(layers=3))
    assert machine(RunConfig(), models) == machine(RunConfig(), replace(models, target=tiny_llama(seed=1)))
    assert machine(RunConfig(), models) != machine(RunConfig(), other)


def test_a_doctor_tells_each_stage_in_quarters(capsys: pytest.CaptureFixture[str]) -> None:
    """A line a tensor would be hundreds."""
    progress = stage_printer()
    progress("tuning", None, None, "")
    for done in range(273):
        progress("loading target", float(done), 272.0, "tensors")
    progress("tuning", None, None, "")
    assert capsys.readouterr().err.splitlines() == [
        "tuning", "loading target 0/272 tensors", "loading target 68/272 tensors", "loading target 136/272 tensors",
        "loading target 204/272 tensors", "loading target 272/272 tensors",
    ]  # fmt: skip


def test_shards_take_one_tree_whatever_their_machines_cost(models: LoadedModels, unmeasured: None) -> None:
    config = with_tree(RunConfig(target="embedded", draft="recycling", shard="2/3"), models)
    assert config.tree == "recycling:8"
