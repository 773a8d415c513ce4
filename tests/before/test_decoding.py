"""Protects sessions that stopped and heads that were trained with earlier versions: both decode as they would have.

The tokens and trees that are expected were decoded by the code of before the packages moved below `spectui`
(README.md).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from spectui.decoding.config import RunConfig
from spectui.prompts import load
from spectui.store.care.check import check
from spectui.store.database import connect
from spectui.store.reading.reader import Reader
from spectui.store.records import PromptRecord
from spectui.store.rows import SessionSummary
from spectui.store.sessions import create_session
from tests.before import views
from tests.before.files import check_keys, differences, read, unpack
from tests.decoding.worker.workers import CONTEXT, run_worker, set_apart

TREES_ALIKE = 0.8
"""Least share of trees that are the same: on another processor, probabilities that nearly tie may change places."""

HEADS: dict[str, dict[str, Any]] = {
    "head-greedy": {"draft": "head", "tree": "dynamic:8x4"},
    "head-warm": {"draft": "head", "tree": "full:2x2", "temperature": 0.9, "seed": 3},
    "head-lookup": {"draft": "head+lookup", "tree": "chain:3+chain:6", "temperature": 0.9, "seed": 3},
}
"""Runs with the head that the earlier version trained, and the target that it was trained for."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files as the earlier version left them, and the working folder."""
    folder = unpack(tmp_path.resolve())
    monkeypatch.chdir(folder)
    return folder


def decode(folder: Path, database: str, session: int, *, force: bool = False) -> None:
    """A worker of the session from start to end, in a process of its own."""
    log = folder / "worker.log"
    arguments = ["--db", database, "--session", str(session), *(["--force"] if force else [])]
    process = CONTEXT.Process(target=_work, args=(folder, arguments, log))
    process.start()
    process.join(120)
    assert process.exitcode == 0, log.read_text()


def _work(folder: Path, arguments: list[str], log: Path) -> None:
    os.chdir(folder)
    set_apart(log)
    sys.exit(run_worker(arguments, {"SPECTUI_MEASURE": "0"}))


def assert_decoded_as_before(database: Path, session: str) -> None:
    expected, now = read(f"decoded/{session}.json"), views.outcome(database, session)
    trees, trees_now = ([prompt.pop("trees") for prompt in prompts] for prompts in (expected, now))
    assert differences(expected, now) == []
    pairs = [
        pair
        for before, after in zip(trees, trees_now, strict=True)
        for pair in zip(before, after, strict=False)
    ]
    assert sum(before == after for before, after in pairs) >= TREES_ALIKE * sum(map(len, trees))
    connection = connect(database)
    assert check(connection) == []
    connection.close()


def summary_of(database: Path, session: str) -> SessionSummary:
    connect(database).close()  # upgraded, as by any run
    with Reader(database) as reader:
        return reader.session(session)


def kinds_of_events(database: Path, session: str) -> set[str]:
    with Reader(database) as reader:
        return {event.kind for event in reader.events(reader.session(session).id)}


@pytest.mark.model
def test_a_stopped_run_goes_on_with_the_head_of_today_when_forced(
    folder: Path, embedded_folder: Path
) -> None:
    """From the installed entry point, with the embedded model; the package has another head by now."""
    database = folder / "before.db"
    command = [
        str(Path(sys.executable).with_name("spectui")),
        *("run", "--resume", "halfway", "--json", "--db", str(database)),
    ]
    environment = {
        **os.environ, "SPECTUI_LOGS": str(folder / "logs"), "SPECTUI_MEASURE": "0", "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    refused = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
    assert refused.returncode == 1
    assert "the draft's model.safetensors" in refused.stderr
    done = subprocess.run([*command, "--force"], env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert_decoded_as_before(database, "halfway")
    check_keys("spectui run --json", json.loads(done.stdout))
    assert kinds_of_events(database, "halfway") == {"refused", "resumed", "forced"}


@pytest.mark.model
def test_a_stopped_run_that_draws_its_tokens_goes_on_with_the_same(
    folder: Path, embedded_folder: Path
) -> None:
    """Sampled, with a head and lookup beside it: every number is drawn in the order in which it was."""
    database = folder / "before.db"
    decode(folder, "before.db", summary_of(database, "halfway-warm").id, force=True)
    assert_decoded_as_before(database, "halfway-warm")


def test_a_run_of_the_first_schema_goes_on_when_forced(folder: Path) -> None:
    """Then which files the models had was not recorded."""
    database = folder / "first.db"
    decode(folder, "first.db", summary_of(database, "first-halfway").id, force=True)
    assert_decoded_as_before(database, "first-halfway")
    assert kinds_of_events(database, "first-halfway") == {"resumed", "forced"}


@pytest.mark.parametrize("name", HEADS)
def test_a_head_drafts_as_it_did(name: str, folder: Path) -> None:
    choices: dict[str, Any] = {"target": "tiny", "max_new_tokens": 24, **HEADS[name]}
    config = RunConfig(**choices)
    connection = connect(folder / "heads.db")
    session = create_session(
        connection, name=name, config_json=config.to_json(), target="tiny", drafter="head", tree=config.tree,
        prompts=[PromptRecord(prompt.id, prompt.task, prompt.text) for prompt in load("prompts.jsonl")[:4]],
    )  # fmt: skip
    connection.close()
    decode(folder, "heads.db", session)
    assert_decoded_as_before(folder / "heads.db", name)
