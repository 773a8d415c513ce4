"""Protects `run --study`: one command for the published set-up, and no way to run half of it under that name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from spectui.decoding.config import STUDY_TOKENS, STUDY_TREE, RunConfig
from spectui.decoding.errors import UsageError
from spectui.prompts import BUNDLED_TASKS, bundled
from spectui.store.database import open_database
from spectui.store.reading.reader import Reader
from spectui.store.records import PromptRecord
from spectui.store.sessions import create_session
from spectui.tui.cli import main
from tests.cli.conftest import Invoke

TIMEOUT_S = 120


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--tree", "dynamic:8x4"], "--tree dynamic:8x4 does not go with --study, whose tree is full:3x2"),
        (["--tree", "auto"], "comparisons over depth mean nothing"),
        (["--depth", "4"], "--tree full:4x2 does not go with --study"),
        (["--temperature", "0.7"], "--temperature does not go with --study"),
        (["--top-p", "0.9"], "--top-p does not go with --study"),
        (["--keep-nodes", "rounds"], "--keep-nodes rounds does not go with --study"),
        (["--draft", "recycling"], "--draft recycling does not go with --study"),
        (["--draft", "lookup"], "--draft lookup does not go with --study"),
        (["--draft", "eagle+lookup"], "need the draft's probabilities at every node"),
        (["--target", "some/model"], "--draft recycling, the default for some/model, does not go with --study"),
        (["--tasks", "code,math"], "--tasks does not go with --study"),
        (["--per-task", "3"], "--per-task does not go with --study"),
        (["--resume", "last"], "leave out --study"),
    ],
)  # fmt: skip
def test_what_would_break_it_is_refused_in_a_line(
    invoke: Invoke, database: Path, words: list[str], said: str
) -> None:
    refused = invoke("run", "--study", *words)
    assert refused.exit_code == 2
    assert said in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert not database.parent.exists()


def test_a_file_with_one_task_is_no_study(invoke: Invoke, database: Path, tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    path.write_text('{"task": "rag", "prompt": "Who?"}\n{"task": "rag", "prompt": "Why?"}\n')
    refused = invoke("run", "--study", "--prompts", path)
    assert refused.exit_code == 2
    assert f"--prompts {path} has only the task 'rag', and --study compares tasks" in refused.stderr
    assert not database.parent.exists()


def test_its_configuration_goes_through_json_and_keeps_its_rules() -> None:
    config = RunConfig(study=True, tree=STUDY_TREE)
    assert RunConfig.from_json(config.to_json()) == config
    assert not RunConfig().study
    with pytest.raises(UsageError, match="--tree left open does not go with --study"):
        RunConfig(study=True)
    with pytest.raises(UsageError, match="--temperature"):
        config.changed(temperature=1.0)


def test_help_names_the_tree_and_the_length_in_force() -> None:
    (option,) = (parameter for parameter in main.commands["run"].params if parameter.name == "study")
    said = str(getattr(option, "help", ""))
    assert STUDY_TREE in said
    assert f"{STUDY_TOKENS} tokens" in said


@pytest.mark.usefixtures("workers")
def test_it_runs_every_bundled_prompt_and_is_known_as_the_study_afterwards(
    invoke: Invoke, database: Path, model: Path
) -> None:
    done = invoke(
        "run", "--study", "--json", "--target", model, "--draft", model, "--max-new-tokens", 2, "--name", "study"
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    counts = {task: each["prompts"] for task, each in json.loads(done.stdout)["tasks"].items()}
    assert counts == dict.fromkeys(BUNDLED_TASKS, 50)
    with Reader(database) as reader:
        summary = reader.session("study")
        generations = reader.generations(summary.id)
        trees = {
            tuple(node.depth for node in round_.nodes)
            for generation in generations[:40]
            for round_ in reader.rounds(generation.id)
        }
    assert summary.study
    assert (summary.tree, summary.prompt_count) == (STUDY_TREE, len(bundled()))
    assert [g.task for g in generations[:4]] == list(BUNDLED_TASKS)
    assert {tuple(sorted(depths)) for depths in trees} == {(1,) * 2 + (2,) * 4 + (3,) * 8}
    report = json.loads(invoke("report", "study", "--json").stdout)
    assert report["study"] is True
    assert all(group["alpha"]["overlap"]["mean"] is not None for group in report["tasks"].values())
    assert ", study set-up\n" in invoke("report", "study").stdout
    assert "the published study's" in invoke("sessions", "show", "study").stdout
    ordinary = RunConfig(target=str(model), draft=str(model), tree=STUDY_TREE)
    db = open_database(database)
    create_session(
        db,
        name="ordinary",
        config_json=ordinary.to_json(),
        target="tiny",
        drafter="tiny",
        tree=STUDY_TREE,
        prompts=[PromptRecord("a-1", "a", "x")],
    )
    db.close()
    compared = invoke("compare", "study", "ordinary").stdout
    assert "set-up: only 'study' is set up as the study" in compared
    assert json.loads(invoke("report", "ordinary", "--json").stdout)["study"] is False


@pytest.mark.parametrize(
    "words",
    [
        ["report", "studdy"],
        ["compare", "last", "studdy"],
        ["attach", "studdy"],
        ["run", "--resume", "studdy"],
        ["sessions", "show", "studdy"],
        ["sessions", "rename", "studdy", "x"],
        ["sessions", "stop", "studdy"],
        ["sessions", "export", "studdy"],
    ],
)
def test_an_unknown_session_is_answered_with_the_closest_names(
    invoke: Invoke, database: Path, words: list[str]
) -> None:
    db = open_database(database)
    for name in ("study", "brave-otter"):
        create_session(
            db,
            name=name,
            config_json=RunConfig().to_json(),
            target="tiny",
            drafter="tiny",
            tree="auto",
            prompts=[PromptRecord("a-1", "a", "x")],
        )
    db.close()
    refused = invoke(*words)
    assert refused.exit_code == 2
    assert refused.stderr == "spectui: there is no session 'studdy'; did you mean study?\n"
