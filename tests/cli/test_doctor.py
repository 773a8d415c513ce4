"""Protects `doctor`: it says what is there, and finds a database whose figures do not add up."""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch

from spectui.store.care.pruning import prune_session
from spectui.store.database import connect
from spectui.store.reading.reader import Reader
from tests.before.files import check_keys
from tests.cli.conftest import Invoke, Popen
from tests.cli.test_run import TIMEOUT_S
from tests.store.samples import record_all


def test_it_describes_the_machine_without_a_database(invoke: Invoke, database: Path) -> None:
    result = invoke("doctor", "--json")
    assert result.exit_code == 0, result.stderr
    described = json.loads(result.stdout)
    check_keys("spectui doctor --json", described)
    assert described["decoding"]["torch"] == torch.__version__
    assert described["database"] == {"path": str(database), "exists": False}
    parts = {kernel["what"]: kernel for kernel in described["kernels"]}
    assert parts["torch"]["found"].startswith(torch.__version__)
    assert described["problems"] == []
    assert not database.parent.exists()


def test_kernels_are_a_line_each_with_what_to_do(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    kernels = [
        {"what": "attention", "found": "sdpa", "do": ""},
        {"what": "GPTQ", "found": "cannot be loaded", "do": "pip install 'spectui[gptq]'"},
    ]
    monkeypatch.setattr("spectui.tui.cli.commands.doctor._decoding", lambda problems: {"kernels": kernels})
    shown = invoke("doctor").stdout.splitlines()
    assert "  attention: sdpa" in shown
    assert "  GPTQ: cannot be loaded. For better: pip install 'spectui[gptq]'" in shown


def test_it_measures_when_asked_and_shows_what_is_kept(
    spectui: Popen, invoke: Invoke, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPECTUI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SPECTUI_MEASURE", "1")
    asked = spectui("doctor", "--measure", "--target", model, "--draft", "recycling", "--json")
    stdout, stderr = asked.communicate(timeout=TIMEOUT_S)
    assert asked.returncode == 0, stderr
    assert "measuring" in stderr
    (record,) = json.loads(stdout)["costs"]
    assert record["machine"]["drafter"] == "recycling"
    assert record["verify"]["1"]["median"] > 0
    monkeypatch.setattr("spectui.tui.cli.commands.doctor._decoding", lambda problems: {})
    shown = invoke("doctor")
    assert shown.exit_code == 0, shown.stderr
    assert "tiny" in shown.stdout
    assert "verify ms by rows: 1: " in shown.stdout


def test_what_cannot_be_measured_is_a_problem(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spectui.tui.cli.commands.doctor._decoding", lambda problems: {})
    result = invoke("doctor", "--measure", "--target", "/nowhere")
    assert result.exit_code == 1
    assert "/nowhere" in result.stderr
    assert invoke("doctor", "--target", "embedded").exit_code == 2


def test_a_named_database_has_to_be_there(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "spectui.tui.cli.commands.doctor._decoding", lambda problems: {}
    )  # seconds, and not looked at here
    result = invoke("doctor", "--db", tmp_path / "none.db")
    assert result.exit_code == 1
    assert "none.db" in result.stderr
    assert not (tmp_path / "none.db").exists()


@pytest.mark.usefixtures("workers")
def test_a_recount_that_differs_is_found(
    invoke: Invoke,
    database: Path,
    model: Path,
    prompt_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("spectui.tui.cli.commands.doctor._decoding", lambda problems: {})
    done = invoke("run", "--target", model, "--prompts", prompt_file, "--max-new-tokens", "6")
    assert done.exit_code == 0, done.output
    result = invoke("doctor", "--db", database)
    assert result.exit_code == 0, result.stderr
    assert "sessions: 1" in result.stdout
    with sqlite3.connect(database) as db:
        db.execute("UPDATE rollup_task SET nodes = nodes + 1 WHERE task = 'rag'")
    db.close()
    result = invoke("doctor", "--db", database)
    assert result.exit_code == 1
    assert "rag" in result.stderr
    assert result.stderr.startswith("spectui: ")
    result = invoke("doctor", "--repair", "--db", database)
    assert result.exit_code == 0, result.stderr
    assert "repaired: session" in result.stdout
    assert "rag" in result.stdout
    assert invoke("doctor", "--db", database).exit_code == 0


def test_counts_are_repaired_on_request(
    invoke: Invoke, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spectui.tui.cli.commands.doctor._decoding", lambda problems: {})
    connection = connect(database)
    record_all(connection, ["code", "math"], 150)
    thin = record_all(connection, ["code"], 20)
    prune_session(connection, thin, datetime.now(UTC))
    before = Reader(connection).figures(1)
    for damage in (
        "UPDATE rollup_task SET nodes = nodes + 1",
        "DELETE FROM rollup_length WHERE accepted_length = 0",
        "UPDATE rollup_depth SET match_count = 0 WHERE depth = 2",
        "UPDATE generation SET token_count = token_count + 1",
        "UPDATE rollup_block SET tokens = tokens + 1 WHERE last = 150",
        "UPDATE session SET prompt_count = 9",
    ):
        connection.execute(damage)
    assert invoke("doctor", "--db", database).exit_code == 1
    mended = invoke("doctor", "--db", database, "--repair")
    assert (mended.exit_code, mended.stderr) == (0, "")
    assert "repaired: " in mended.stdout
    assert invoke("doctor", "--db", database).exit_code == 0
    after = Reader(connection).figures(1)
    assert {task: f.depths.keys() for task, f in after.items()} == {
        t: f.depths.keys() for t, f in before.items()
    }
    # What is not a count is not made up.
    connection.execute("UPDATE node SET depth = 3 WHERE round_id = 1 AND idx = 0")
    damaged = invoke("doctor", "--db", database, "--repair")
    assert damaged.exit_code == 1
    assert "depth is not one more" in damaged.stderr
    connection.close()


def test_it_says_where_the_logs_are(invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spectui.tui.cli.commands.doctor._decoding", lambda problems: {})
    logs = json.loads(invoke("doctor", "--json").stdout)["logs"]
    assert logs == {"folder": str(tmp_path / "logs"), "files": 0, "bytes": 0}
