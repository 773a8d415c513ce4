"""Protects `spectui advise` from sessions that lack something: it says what in a line, or leaves out what it must."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from spectui.decoding.config import RunConfig
from spectui.decoding.trees.plan_file import read_plan
from spectui.store.care.pruning import prune_session
from spectui.store.database import open_database
from spectui.store.reading.reader import Reader
from spectui.store.records import PromptRecord
from spectui.store.sessions import create_session
from spectui.store.writing.writer import SessionWriter
from spectui.tui.cli import main
from tests.store.samples import random_rounds

CHAIN = (None, 0, 1)


def session(
    database: Path, tasks: tuple[str, ...] = ("code", "math") * 3, *, rounds: int = 6, baseline: float | None = 30.0,
    parents: tuple[int | None, ...] | None = None, **settings: Any,
) -> int:  # fmt: skip
    """A finished session of such a run."""
    config = RunConfig(**{"draft": "eagle", "tree": "full:3x2", **settings})
    db = open_database(database)
    made = create_session(
        db, config_json=config.to_json(), target=config.target, drafter=config.draft_name, tree=config.tree,
        prompts=[PromptRecord(f"p{i}", task, f"prompt {i}") for i, task in enumerate(tasks)],
    )  # fmt: skip
    writer = SessionWriter(db, made)
    writer.claim()
    for generation in writer.pending_generations():
        writer.start_generation(generation.id, 10)
        shape = {} if parents is None else {"parents": parents}
        for record in random_rounds(rounds, seed=generation.id, **shape):
            writer.record_round(generation.id, record)
        writer.finish_generation(generation.id, "finished", output="done", finish_reason="eos")
    if baseline is not None and rounds:
        with Reader(db) as reader:
            round_ms = reader.session(made).total_ms / reader.session(made).rounds
        for off in (0.98, 1.0, 1.02):
            writer.add_baseline(off * baseline, 1, round_ms)
    writer.set_status("finished")
    db.close()
    return made


def advise(database: Path, *arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["advise", "--db", str(database), *map(str, arguments)])


def data(database: Path, *arguments: str) -> dict[str, Any]:
    done = advise(database, "--json", *arguments)
    assert done.exit_code == 0, done.stderr
    advice: dict[str, Any] = json.loads(done.stdout)
    return advice


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


def refused(database: Path, *arguments: str | Path) -> str:
    done = advise(database, *arguments)
    assert done.exit_code in (1, 2)
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    return done.stderr


def test_what_says_too_little_says_what_is_missing(database: Path) -> None:
    session(database, ("code",))
    assert "it takes two (one more would do)" in refused(database)
    session(database, baseline=None)
    assert "plain decoding was not measured" in refused(database)
    session(database, rounds=0)
    assert "no rounds yet" in refused(database)
    assert "there is no session 'friday'" in refused(database, "friday")
    session(database, ("code", "math"))
    said = advise(database).stdout
    assert "it takes two of each task" in said
    assert "code: 1 prompt is too little for an interval" in said


def test_pruned_prompts_are_left_out_and_when_all_are_it_says_so(database: Path) -> None:
    made = session(database)
    db = open_database(database)
    db.execute(
        "INSERT INTO pruned (generation_id, at, counts) SELECT min(id), '2026-01-01', '[]' FROM generation"
    )
    db.commit()
    assert "1 prompt is left out" in advise(database).stdout
    prune_session(db, made, datetime.now(UTC))
    db.close()
    assert "given up the rejected nodes of every prompt" in refused(database)


def test_a_sampled_session_with_drawn_nodes_says_nothing_of_dynamic_trees(database: Path) -> None:
    session(database, temperature=0.7)
    advice = data(database)
    trees = {advice["best_single"]["tree"], *(task["tree"] for task in advice["tasks"].values())}
    assert not any(tree.startswith("dynamic") for tree in trees)
    said = advise(database).stdout
    assert "The text was sampled" in said
    assert "Dynamic trees are not weighed" in said
    session(database, temperature=0.0)
    assert "The text was sampled" not in advise(database).stdout


def test_a_lookup_is_advised_chains(database: Path) -> None:
    session(database, draft="lookup", tree="chain:3", parents=CHAIN)
    advice = data(database)
    beyond = advice["beyond_what_was_recorded"]
    for tree in (advice["best_single"], *advice["tasks"].values(), *([beyond] if beyond else [])):
        assert tree["tree"].startswith("chain:")


def test_a_drafter_that_nobody_knows_is_weighed_as_any(database: Path, tmp_path: Path) -> None:
    session(database, draft="somebody/unheard-of", tree="full:3x2")
    assert advise(database, "--save", tmp_path / "b.json").exit_code == 0
    assert read_plan(tmp_path / "b.json").identity.drafter == "unheard-of"
