"""Protects: three shards of a run, decoded apart and merged, are the run in one go; each step from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from spectui.store.analysis.as_json import report_json
from spectui.store.analysis.report import build_report
from spectui.store.reading.reader import Reader
from tests.before.files import differences
from tests.models import cut_down, tiny_llama, tiny_tokenizer

pytestmark = pytest.mark.usefixtures("workers")
Invoke = Callable[..., Result]
TIMED = {
    "session", "name", "tokens_per_second", "speedup", "speedup_range", "baseline_count", "per_million_tokens",
}  # fmt: skip
RUNS = {
    "greedy": ["--tree", "full:2x2"],
    "sampled": ["--tree", "dynamic:4x2", "--temperature", "0.8", "--seed", "7"],
    "remembering": ["--draft", "recycling", "--tree", "recycling:8", "--temperature", "0.8"],
}
"""Options of a run; one whose drafter remembers prompts is held against one shard of all, which forgets them, too."""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    cut_down(tiny_llama(folder / "target", context=4096), folder / "draft", 1, tiny_tokenizer())
    return folder


@pytest.fixture
def prompt_file(tmp_path: Path) -> Path:
    """Seven prompts of two tasks: no shard has as many as another."""
    path = tmp_path / "mine.jsonl"
    lines = [
        {"task": task, "prompt": f"One two {i}"} for task, n in (("rag", 4), ("code", 3)) for i in range(n)
    ]
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return path


@pytest.fixture
def run(invoke: Invoke, models: Path, prompt_file: Path) -> Callable[..., None]:
    def run(database: Path, *options: str) -> None:
        arguments = ["--target", models / "target", "--draft", models / "draft", "--prompts", prompt_file]
        done = invoke("run", "--db", database, *arguments, "--max-new-tokens", "10", *options)
        assert done.exit_code == 0, done.output

    return run


def rounds_of(database: Path) -> dict[int, Any]:
    """Position -> output, and all rounds with their trees but for ids and times."""
    with Reader(database) as reader:
        return {
            row.position: (
                row.prompt_id,
                row.output,
                [
                    (r.number, r.prefix_length, r.accepted_length, r.bonus_token_id, r.cut, r.nodes)
                    for r in reader.rounds(row.id)
                ],
            )
            for row in reader.generations(reader.session("last").id)
        }


def counts_of(database: Path) -> dict[str, Any]:
    with Reader(database) as reader:
        tables: dict[str, Any] = {
            name: [row[1:] for row in reader.fetch(f"SELECT * FROM {name} ORDER BY 1, 2, 3")]
            for name in ("rollup_length", "rollup_depth")
        }
        tables["rollup_task"] = reader.fetch(
            "SELECT task, prompts, rounds, nodes, tokens, bins FROM rollup_task"
        )
        return tables


def report_of(database: Path) -> dict[str, Any]:
    with Reader(database) as reader:
        return {
            key: value for key, value in report_json(build_report(reader, "last")).items() if key not in TIMED
        }


@pytest.mark.parametrize("kind", RUNS)
def test_three_shards_merged_are_the_run_in_one_go(
    kind: str, run: Callable[..., None], invoke: Invoke, tmp_path: Path
) -> None:
    one, out, shards = tmp_path / "one.db", tmp_path / "out.db", [tmp_path / f"{i}.db" for i in (1, 2, 3)]
    run(one, *RUNS[kind], *(("--shard", "1/1") if kind == "remembering" else ()))
    for number, database in enumerate(shards, start=1):
        run(database, *RUNS[kind], "--shard", f"{number}/3")
    with Reader(shards[0]) as reader:
        assert reader.session("last").tasks == {"rag": 2, "code": 1}
        told = [event.text for event in reader.events(1)]
    assert ("recycling forgets each prompt after it, as prompts run apart" in told) == (kind == "remembering")
    done = invoke("sessions", "merge", out, *shards, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["prompts"] == 7
    assert rounds_of(out) == rounds_of(one)
    assert counts_of(out) == counts_of(one)
    assert differences(report_of(one), report_of(out)) == []
    missing = invoke("sessions", "merge", tmp_path / "other.db", *shards[:2], "gone.db")
    assert (missing.exit_code, "there is no database at" in missing.stderr) == (2, True)
    again = invoke("sessions", "merge", out, *shards)
    assert (again.exit_code, again.stderr.count("\n")) == (2, 1)
    assert "is there already" in again.stderr


@pytest.mark.parametrize("shard", ["0/3", "4/3", "1", "a/b", "1/0", "-1/3", "1/3/5", "²/3", "1/" + "9" * 20])
def test_a_shard_that_is_none_is_refused_in_a_line(invoke: Invoke, shard: str, database: Path) -> None:
    done = invoke("run", f"--shard={shard}")
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "write it as 2/3: shards are counted from 1/3 to 3/3" in done.stderr
    assert not database.exists()


def test_a_shard_without_prompts_and_options_that_go_not_with_it_are_refused(
    invoke: Invoke, models: Path, prompt_file: Path, database: Path
) -> None:
    run = ("run", "--target", models / "target", "--prompts", prompt_file)
    empty = invoke(*run, "--shard", "5/5")
    assert "--shard 5/5 has no prompts: no task has 5 of them; use fewer shards" in empty.stderr
    pruning = invoke(*run, "--shard", "1/3", "--keep-nodes", "rounds")
    assert "--keep-nodes rounds does not go with --shard" in pruning.stderr
    server = invoke("run", "--server", "http://127.0.0.1:1", "--shard", "1/3")
    assert "--shard does not go with --server" in server.stderr
    assert not database.exists()
