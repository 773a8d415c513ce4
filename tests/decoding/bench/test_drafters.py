"""`bench --drafters`: fair to every arm, right in every figure, and clear about a list it cannot run."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest

from spectui import prompts
from spectui.decoding.bench import __main__ as bench
from spectui.decoding.bench.arms import Outcome
from spectui.decoding.bench.drafters import ALL, Comparison, compare
from spectui.decoding.bench.drafters import parse_drafters as parse
from spectui.decoding.bench.drafters_figures import figures
from spectui.decoding.bench.drafters_table import (
    ASSISTED,
    GREEDY,
    LINE_WIDTH,
    PLAIN,
    PROMPT_LOOKUP,
    RATIOS,
    labels,
    table,
)
from spectui.decoding.bench.paired import PairedOutcomes
from spectui.decoding.config import RunConfig
from spectui.decoding.eagle import checkpoint
from spectui.decoding.eagle.checkpoint import save_head
from spectui.decoding.engine import SpeculativeDecoder
from spectui.decoding.errors import DecodingError, UsageError
from spectui.decoding.models import load as models
from spectui.decoding.models.load import load_models
from spectui.store.counts.metrics import at_risk
from tests.before.files import check_keys
from tests.heads import tiny_head
from tests.models import cut_down, greedy_reference, tiny_llama, tiny_tokenizer

NEW_TOKENS = 20
CHOSEN = [
    prompts.Prompt("code-1", "code", "def merge(a, b): merge(a, b)"),
    prompts.Prompt("chat-1", "chat", "What would you cook for a friend?"),
    prompts.Prompt("code-2", "code", "out.append(a.pop(0) if a[0] < b[0]"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A target, a draft model of its first layers, and a head."""
    path = tmp_path_factory.mktemp("models")
    target = tiny_llama(path / "target", layers=3)
    cut_down(target, path / "draft", 2, tiny_tokenizer())
    save_head(tiny_head(target), path / "head", target_name="target")
    return path


@pytest.fixture(scope="module")
def asked(folder: Path) -> list[str]:
    head, draft = folder / "head", folder / "draft"
    return [
        f"{head}@chain:3", f"{head}@dynamic:6x3", f"{head}+lookup@full:2x2", f"{draft}@chain:2",
        f"{folder / 'target'}@chain:2", "recycling", "recycling@recycling:8", "lookup@chain:4",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def config(folder: Path) -> RunConfig:
    return RunConfig(target=str(folder / "target"), max_new_tokens=NEW_TOKENS)


@pytest.fixture(scope="module")
def loads() -> Counter[str]:
    """Number of times that each model was loaded for `comparison`."""
    return Counter()


@pytest.fixture(scope="module")
def comparison(asked: list[str], config: RunConfig, loads: Counter[str]) -> Comparison:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPECTUI_MEASURE", "0")
        for module, name in ((models, "load_model"), (checkpoint, "load_head")):
            original = getattr(module, name)

            def counting(folder: Any, *rest: Any, _original: Any = original, **options: Any) -> Any:
                loads[Path(folder).name] += 1
                return _original(folder, *rest, **options)

            patch.setattr(module, name, counting)
        return compare(parse(",".join(asked), config), CHOSEN, tell=lambda _: None)


@pytest.fixture(scope="module")
def benched(comparison: Comparison, config: RunConfig) -> dict[str, Any]:
    written: dict[str, Any] = json.loads(json.dumps(figures(config, comparison)))
    return written


def test_every_arm_writes_what_generate_writes(comparison: Comparison, folder: Path) -> None:
    loaded = load_models(RunConfig(target=str(folder / "target"), speculate=False), tuned=False)
    for i, prompt in enumerate(CHOSEN):
        expected = greedy_reference(loaded.target, loaded.tokenizer.encode_prompt(prompt.text), NEW_TOKENS)
        for name, outcomes in comparison.measured.outcomes.items():
            assert outcomes[i].tokens == expected, name
    assert comparison.divergences == []


def test_nothing_is_loaded_twice(comparison: Comparison, loads: Counter[str]) -> None:
    """transformers' arms have an untouched copy of each model; heads are ours alone."""
    assert loads == {"target": 2, "draft": 2, "head": 1}


def test_the_same_drafter_and_tree_is_measured_once(comparison: Comparison, asked: list[str]) -> None:
    """The fixed tree of recycling is recycling:8."""
    assert list(comparison.drafters) == [name for name in asked if name != "recycling@recycling:8"]
    assert comparison.drafters["recycling"].tree == "recycling:8"
    assert comparison.chosen == {"recycling"}


def test_assisted_mode_is_that_of_the_arms_own_draft_model(comparison: Comparison, folder: Path) -> None:
    with_draft, itself = f"{ASSISTED}{folder / 'draft'}", f"{ASSISTED}{folder / 'target'}"
    assert comparison.baselines == [PLAIN, GREEDY, PROMPT_LOOKUP, with_draft, itself]
    assert comparison.assisted(f"{folder / 'draft'}@chain:2") == with_draft
    assert comparison.assisted(f"{folder / 'target'}@chain:2") == itself
    assert comparison.assisted("recycling") == with_draft
    assert comparison.assisted(itself) == itself


def test_acceptance_by_depth_is_that_of_a_recount(comparison: Comparison, benched: dict[str, Any]) -> None:
    """Node by node from the rounds of decoders of their own, which decode the same prompts in the same order."""
    for name, drafter in comparison.drafters.items():
        decoder = SpeculativeDecoder(drafter)
        risk, reached, tokens, rounds = Counter[int](), Counter[int](), 0, 0
        for _ in decoder.generate("Hello."):
            pass
        for position, prompt in enumerate(CHOSEN):
            for r in decoder.generate(prompt.text, position=position):
                rounds += 1
                tokens += len(r.tokens)
                risky = {
                    int(depth)
                    for depth, parent in zip(r.tree.depth, r.tree.parent, strict=True)
                    if at_risk(parent < 0 or bool(r.accepted[parent]), int(depth), len(r.path), r.cut)
                }
                risk.update(risky)
                reached.update(risky & set(range(1, len(r.path) + 1)))
        arm = benched["drafters"][name]
        assert arm["at_risk"] == [risk[d] for d in sorted(risk)], name
        assert arm["acceptance"] == [round(reached[d] / risk[d], 4) for d in sorted(risk)], name
        assert arm["tokens_per_round"] == round(tokens / rounds, 4), name
    assert any(0 < share < 1 for arm in benched["drafters"].values() for share in arm["acceptance"])


def test_ratios_are_medians_of_pairs_within_a_prompt(comparison: Comparison, benched: dict[str, Any]) -> None:
    def rates(arm: str, task: str | None) -> list[float]:
        return [
            p["arms"][arm]["tokens"] / p["arms"][arm]["seconds"]
            for p in benched["per_prompt"]
            if task in (None, p["task"])
        ]

    for name in comparison.drafters:
        bases = (PLAIN, GREEDY, PROMPT_LOOKUP, comparison.assisted(name))
        for key, base in zip(RATIOS, bases, strict=True):
            assert base is not None
            for task in (None, "code", "chat"):
                arm = benched["drafters"][name]
                figure = arm if task is None else arm["tasks"][task]
                pairs = [a / b for a, b in zip(rates(name, task), rates(base, task), strict=True)]
                assert figure[key] == pytest.approx(median(pairs), abs=1e-4)
                assert figure["spread"][key] == pytest.approx(np.quantile(pairs, [0.25, 0.75]), abs=1e-4)


def test_every_arm_has_the_same_figures(comparison: Comparison, benched: dict[str, Any]) -> None:
    keys = {
        *RATIOS, "spread", "interval", "tokens_per_second", "tokens_per_round", "acceptance", "at_risk", "draft_ms",
        "verify_ms", "identical_prompts",
    }  # fmt: skip
    for arm in (*benched["drafters"].values(), *benched["baselines"].values()):
        keys_of_arm = set(arm) - {"draft", "tree", "tree_chosen", "tasks"}
        assert keys_of_arm == keys
        assert set(arm["tasks"]) == {"code", "chat"} == set(benched["tasks"])
        assert all(set(of_task) == keys for of_task in arm["tasks"].values())
        assert sum(of_task["identical_prompts"] for of_task in arm["tasks"].values()) == 3
    for arm in benched["drafters"].values():
        assert arm["draft"]
        assert arm["tree"]
        assert all(arm[key] > 0 for key in (*RATIOS, "draft_ms", "verify_ms", "tokens_per_round"))
    plain = benched["baselines"][PLAIN]
    assert plain["tokens_per_round"] == plain["ratio_vs_own_plain"] == 1.0
    assert plain["acceptance"] == []
    assert benched["baselines"][GREEDY]["verify_ms"] is None
    assert benched["identical_prompts"] == benched["prompts"] == 3
    assert benched["divergences"] == []


def test_the_table_is_narrow_and_names_every_arm_under_every_task(benched: dict[str, Any]) -> None:
    lines = table(benched).splitlines()
    assert max(map(len, lines)) <= LINE_WIDTH
    for title in ("all (3)", "code (2)", "chat (1)"):
        at = next(i for i, line in enumerate(lines) if line.startswith(title))
        named = [line[:19].strip() for line in lines[at + 1 : at + 1 + 12]]
        assert named[:2] == ["head@chain:3", "head@dynamic:6x3"]
        assert named[7:] == [
            "own plain loop",
            "transformers",
            "prompt lookup",
            "assisted draft",
            "assisted target",
        ]
    assert "recycling: tree recycling:8" in lines


def test_a_divergence_is_listed_with_its_arm_and_margin(benched: dict[str, Any]) -> None:
    divergence = {"arm": "recycling", "prompt": "code-1", "position": 7, "margin": 1.5e-6}
    text = table(benched | {"identical_prompts": 2, "divergences": [divergence]})
    assert "on 2 of 3 prompts" in text
    assert "code-1: recycling differs at token 7, margin 1.5e-06" in text


class _Noting:
    """An arm that notes its turn and takes no time."""

    def __init__(self, name: str, turns: list[tuple[int, str]]) -> None:
        self._name, self._turns = name, turns

    def run(self, ids: list[int], position: int, *, warm_up: bool = False) -> Outcome:
        self._turns.append((position, self._name))
        return Outcome([1], 1.0)


def test_who_begins_changes_from_prompt_to_prompt() -> None:
    turns: list[tuple[int, str]] = []
    arms = {name: _Noting(name, turns) for name in "abc"}
    measured = PairedOutcomes()
    for number in range(4):
        measured.take_turns(arms, prompts.Prompt(str(number), "code", ""), [1])
    assert turns == [(i, name) for i, order in enumerate(("abc", "bca", "cab", "abc")) for name in order]
    assert {name: len(outcomes) for name, outcomes in measured.outcomes.items()} == dict.fromkeys("abc", 4)


def test_all_is_every_named_drafter_and_the_head_in_some_trees() -> None:
    configs = parse(f"{ALL},embedded@chain:3,recycling", RunConfig(max_new_tokens=7))
    assert list(configs) == [
        "eagle", "eagle@chain:3", "eagle@dynamic:8x4", "eagle@dynamic:12x4", "eagle+lookup", "lookup",
        "recycling", "embedded@chain:3",
    ]  # fmt: skip
    assert all(config.max_new_tokens == 7 for config in configs.values())
    assert (configs["eagle"].draft, configs["eagle"].tree) == ("eagle", "")
    assert (configs["embedded@chain:3"].draft, configs["embedded@chain:3"].tree) == ("embedded", "chain:3")


def test_the_embedded_head_is_not_among_all_for_other_targets() -> None:
    assert list(parse(ALL, RunConfig(target="other/model"))) == ["lookup", "recycling"]


def test_commas_and_ats_that_belong_to_a_tree_or_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("me@home").mkdir()
    text = "recycling@paths:000,1,20, lookup,eagle+lookup@paths:00,1+chain:6,me@home,me@home@chain:2,,"
    assert {name: (config.draft, config.tree) for name, config in parse(text, RunConfig()).items()} == {
        "recycling@paths:000,1,20": ("recycling", "paths:000,1,20"),
        "lookup": ("lookup", ""),
        "eagle+lookup@paths:00,1+chain:6": ("eagle+lookup", "paths:00,1+chain:6"),
        "me@home": ("me@home", ""),
        "me@home@chain:2": ("me@home", "chain:2"),
    }


@pytest.mark.parametrize("text", ["", " , ,"])
def test_a_list_without_any_says_what_to_give(text: str) -> None:
    with pytest.raises(UsageError, match="names none; give 'all' or"):
        parse(text, RunConfig())


def test_all_that_is_wrong_with_a_list_is_one_line() -> None:
    wrong = {
        "eagle@oak": "tree 'oak' is not understood",
        "@chain:3": "give a drafter and a tree",
        "eagle@": "give a drafter and a tree",
        "lookup@full:2x2": "branches",
        "recycling@dynamic:8x4": "chosen by the draft's probabilities",
        "lookup+lookup": "put +lookup behind another drafter",
        "eagle@chain:99": "between 1 and",
        "plain": "always measured",
    }
    with pytest.raises(UsageError) as raised:
        parse(",".join(["eagle", *wrong]), RunConfig())
    line = str(raised.value)
    assert len(line.splitlines()) == 1
    for name, reason in wrong.items():
        assert reason in line[line.index(f"'{name}': ") :], name
    assert "'eagle': " not in line


def test_a_drafter_that_does_not_load_is_named_before_anything_is_measured(
    folder: Path, config: RunConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad").mkdir()
    for file in (folder / "head").iterdir():
        (tmp_path / "bad" / file.name).write_bytes(file.read_bytes()[:4000])
    options = ["--target", config.target, "--drafters", f"recycling@chain:2,{tmp_path / 'bad'}@chain:3"]
    assert bench.main(options) == 1
    *progress, last = capsys.readouterr().err.splitlines()
    assert last.startswith(f"spectui: --drafters '{tmp_path / 'bad'}@chain:3': ")
    assert not any("tok/s" in line or "warming" in line for line in progress)


def test_a_tree_too_wide_for_the_draft_is_blamed_on_its_drafter(config: RunConfig, folder: Path) -> None:
    narrow = tiny_head(tiny_llama(layers=3), draft_vocab_size=16)
    save_head(narrow, folder / "narrow", target_name="target")
    name = f"{folder / 'narrow'}@full:1x32"
    with pytest.raises(DecodingError, match=f"^--drafters '{name}': tree 'full:1x32' has 32 siblings"):
        compare(parse(name, config), CHOSEN, tell=lambda _: None)


def test_the_command_prints_tables_and_json(
    config: RunConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = tmp_path / "asked.jsonl"
    asked.write_text("".join(json.dumps({"task": p.task, "prompt": p.text}) + "\n" for p in CHOSEN))
    options = ["--target", config.target, "--prompts", str(asked), "--per-task", "1", "--max-new-tokens", "8"]
    options += ["--drafters", "lookup@chain:3"]
    assert bench.main([*options, "--json"]) == 0
    out = json.loads(capsys.readouterr().out)
    check_keys("spectui bench --drafters --json", out)
    assert out["prompts"] == 2
    assert list(out["drafters"]) == ["lookup@chain:3"]
    assert list(out["baselines"]) == [PLAIN, GREEDY, PROMPT_LOOKUP]
    assert out["drafters"]["lookup@chain:3"]["ratio_vs_assisted"] is None
    assert bench.main(options) == 0
    assert "x its assisted" not in capsys.readouterr().out


@pytest.mark.parametrize("options", [["--drafters", "{}"], ["--draft", "{}", "--no-dashboard"]])
def test_a_draft_of_a_padded_vocabulary_is_measured_without_transformers_assistance(
    config: RunConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    """As Qwen2.5's small models beside its large ones: transformers takes their tokenizers for different ones."""
    draft, asked = tmp_path / "draft", tmp_path / "asked.jsonl"
    tiny_llama(draft, vocab_size=392)
    asked.write_text(json.dumps({"task": CHOSEN[0].task, "prompt": CHOSEN[0].text}) + "\n")
    options = [option.format(draft) for option in options]
    options += ["--target", config.target, "--prompts", str(asked), "--max-new-tokens", "6", "--json"]
    assert bench.main(options) == 0
    out, said = capsys.readouterr()
    assert (
        "assisted mode is left out: it needs a draft of 384 tokens (vocab_size), and this one has 392" in said
    )
    if "--drafters" in options:
        assert list(json.loads(out)["baselines"]) == [PLAIN, GREEDY, PROMPT_LOOKUP]


def test_one_draft_and_a_list_of_drafters_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        bench.main(["--drafters", "all", "--draft", "recycling"])
    assert ended.value.code == 2
    assert "leave out --draft and --tree" in capsys.readouterr().err


def test_the_held_out_questions_are_a_prompt_file() -> None:
    file = Path(models.__file__).parents[1] / "distill" / "heldout.jsonl"
    chosen = prompts.interleave(prompts.select(file, None, 3))
    assert [prompt.task for prompt in chosen] == ["code", "math", "logic", "chat"] * 3


def test_folders_of_one_name_are_told_apart() -> None:
    """Two trained heads both lie in a folder `head`; the table shows as much of a path as it takes."""
    arms = ["eagle", "/w/new/head", "/w/new/head+lookup", "/w/old/head@chain:3", PLAIN, f"{ASSISTED}/m/draft"]
    assert list(labels(arms).values())[:4] == ["eagle", "head", "head+lookup", "head@chain:3"]
    arms.append("/w/old/head")
    named = labels(arms)
    assert named["/w/new/head"] == "new/head"
    assert named["/w/old/head"] == "old/head"
    assert named["eagle"] == "eagle"
    assert len(set(named.values())) == len(arms)
    assert labels([]) == {}
