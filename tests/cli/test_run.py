"""Protects `run` and `attach` without a dashboard, from the installed entry point to the database."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from spectui.decoding.config import RunConfig
from spectui.prompts import Prompt
from spectui.store.care.check import check
from spectui.store.database import open_database
from spectui.store.reading.reader import Reader
from spectui.store.records import PromptRecord
from spectui.store.sessions import create_session
from spectui.store.writing.writer import SessionWriter
from spectui.tui.cli.follow import Follower
from spectui.tui.model.session_filter import entry_of, parse
from spectui.tui.screens.sessions.columns import session_columns
from tests.before.files import check_keys
from tests.cli.conftest import Invoke, Popen
from tests.waiting import until

TIMEOUT_S = 120
KEYS = {
    "session", "prompts", "rounds", "nodes", "tokens", "tokens_per_round", "tokens_per_second", "seconds", "tasks",
}  # fmt: skip
TASK_KEYS = {
    "prompts", "rounds", "nodes", "tokens", "match_rate", "accepted_at_risk", "mean_accepted_length",
    "tokens_per_round",
}  # fmt: skip


@pytest.fixture
def endless(model: Path, tmp_path: Path) -> list[str | Path]:
    """Arguments of a run that is still at work whatever a test does to it, and however late."""
    path = tmp_path / "endless.jsonl"
    lines = (json.dumps({"task": "rag", "prompt": f"One two {number}"}) for number in range(2000))
    path.write_text("\n".join(lines), encoding="utf-8")
    return ["run", "--target", model, "--prompts", path, "--max-new-tokens", "4000"]


def read_until(process: subprocess.Popen[str], wanted: str) -> list[str]:
    """Lines of stdout up to the first that has `wanted` in it."""
    assert process.stdout
    lines = []
    for line in process.stdout:
        lines.append(line)
        if wanted in line:
            return lines
    raise AssertionError(f"never said {wanted!r}: {lines} {process.stderr and process.stderr.read()}")


def test_a_headless_run_ends_in_one_json_object_that_matches_the_database(
    spectui: Popen, database: Path, model: Path, prompt_file: Path
) -> None:
    process = spectui(
        "run",
        "--json",
        "--target",
        model,
        "--prompts",
        prompt_file,
        "--max-new-tokens",
        12,
        "--name",
        "friday",
    )
    stdout, stderr = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, stderr
    assert stdout.count("\n") == 1
    printed = json.loads(stdout)
    assert printed.keys() >= KEYS
    assert "3/3 " in stderr
    assert "'friday': tiny <- recycling" in stderr
    reader = Reader(database)
    try:
        summary = reader.session("friday")
        rounds = [r for g in reader.generations(summary.id) for r in reader.rounds(g.id)]
        assert [g.task for g in reader.generations(summary.id)] == [
            "rag",
            "translation",
            "rag",
        ]  # taking turns
    finally:
        reader.close()
    assert printed["session"] == summary.id
    assert printed["prompts"] == 3
    assert printed["rounds"] == len(rounds)
    assert printed["nodes"] == sum(len(r.nodes) for r in rounds)
    assert printed["tokens"] == sum(len(r.emitted) for r in rounds)
    assert printed["tokens_per_round"] == pytest.approx(printed["tokens"] / len(rounds))
    assert printed["tokens_per_second"] == pytest.approx(printed["tokens"] / printed["seconds"])
    assert {task: figures["prompts"] for task, figures in printed["tasks"].items()} == {
        "rag": 2,
        "translation": 1,
    }
    for figures in printed["tasks"].values():
        assert figures.keys() == TASK_KEYS
        assert 0 <= figures["match_rate"] <= 1
        assert figures["mean_accepted_length"] >= 0
    assert sum(figures["nodes"] for figures in printed["tasks"].values()) == printed["nodes"]


def test_a_run_without_a_terminal_tells_its_progress_and_ends_in_a_table(
    invoke: Invoke, model: Path, prompt_file: Path
) -> None:
    done = invoke(
        "run", "--target", model, "--draft", model, "--depth", 2, "--branching", 2,
        "--prompts", prompt_file, "--tasks", "rag", "--per-task", 1, "--max-new-tokens", 8,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert "tiny <- tiny, tree full:2x2" in lines[0]
    assert lines[1] == "1 prompt: rag 1"
    assert any(re.match(r"\d\d:\d\d:\d\d  (loading|starting)", line) for line in lines)
    assert any(re.match(r"\d\d:\d\d:\d\d  1/1 rag-001: 8 tokens in ", line) for line in lines)
    header = next(i for i, line in enumerate(lines) if line.startswith("task "))
    assert lines[header].split()[:5] == ["task", "prompts", "rounds", "nodes", "tokens"]
    assert lines[header + 1].split()[:2] == ["rag", "1"]
    assert "tok/s" in lines[-3]
    assert lines[-2].startswith("plain decoding was ")  # too seldom, of eight tokens
    assert lines[-1].startswith("a million tokens take ")
    # What was just run can be looked at by the other commands.
    assert invoke("attach").stdout.splitlines()[-1] == lines[-1]
    shown = json.loads(invoke("sessions", "show", "--json").stdout)
    assert shown["status"] == "finished"
    assert shown["config"]["tree"] == "full:2x2"
    assert shown["figures"]["tokens"] == 8


def test_a_detached_run_returns_at_once_and_attach_follows_it_to_its_end(
    spectui: Popen, model: Path, prompt_file: Path
) -> None:
    start = spectui(
        "run", "--detach", "--json", "--target", model, "--prompts", prompt_file, "--max-new-tokens", 8
    )
    stdout, stderr = start.communicate(timeout=TIMEOUT_S)
    assert start.returncode == 0, stderr
    check_keys("spectui run --detach --json", json.loads(stdout))
    session = json.loads(stdout)["session"]
    attach = spectui("attach", session)
    stdout, stderr = attach.communicate(timeout=TIMEOUT_S)
    assert attach.returncode == 0, stderr
    assert "3/3 " in stdout


@pytest.mark.usefixtures("workers")
def test_a_model_that_cannot_be_loaded_fails_the_run_in_one_line_with_its_log(
    invoke: Invoke, tmp_path: Path, prompt_file: Path
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text("{}")
    done = invoke("run", "--target", broken, "--prompts", prompt_file)
    assert done.exit_code == 1
    assert done.stderr.startswith("spectui: ")
    assert done.stderr.count("\n") == 1
    log = done.stderr.rsplit("(log: ", 1)[1].rstrip(")\n")
    assert Path(log).is_file()


def test_interrupting_a_headless_run_stops_it_and_keeps_what_it_found(
    spectui: Popen, database: Path, endless: list[str | Path]
) -> None:
    process = spectui(*endless)
    read_until(process, "decoding")
    reader = Reader(database)
    until(lambda: reader.session("last").rounds > 3)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=TIMEOUT_S)
    assert "stopping after this round" in stdout
    assert process.returncode == 1
    assert stderr == "spectui: session 1 is stopped; go on with: spectui run --resume 1\n"
    assert reader.session("last").status == "stopped"
    reader.close()
    db = open_database(database)
    assert check(db) == []
    db.close()


def test_the_follower_of_a_run_can_be_killed_and_another_tells_of_a_killed_worker(
    spectui: Popen, database: Path, endless: list[str | Path]
) -> None:
    process = spectui(*endless)
    read_until(process, "decoding")
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == -signal.SIGHUP
    with Reader(database) as reader:
        rounds = reader.session("last").rounds
        until(lambda: reader.session("last").rounds > rounds + 3)
        assert reader.session("last").status == "running"
        pid = reader.session("last").pid
    assert pid is not None
    process = spectui("attach")
    read_until(process, "decoding")
    os.kill(pid, signal.SIGKILL)
    _, stderr = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 1
    assert stderr.startswith("spectui: session 1 was interrupted: its worker is gone (log: ")


@pytest.fixture
def unmoved(database: Path) -> int:
    """A running session whose worker (this process) never does anything."""
    db = open_database(database)
    config = RunConfig()
    session = create_session(
        db,
        name="unmoved",
        config_json=config.to_json(),
        target="tiny",
        drafter="recycling",
        tree=config.tree_spec,
        prompts=[PromptRecord("a-1", "a", "x")],
    )
    writer = SessionWriter(db, session)
    writer.claim()
    writer.set_stage("decoding", None, None, "")
    writer.set_status("running")
    db.close()
    return session


def test_a_second_interruption_leaves_the_run_going_and_says_how_to_come_back(
    database: Path, unmoved: int, reader: Reader
) -> None:
    code = (
        "import sys; from pathlib import Path; from spectui.tui.cli.commands.attach import watch;"
        "sys.exit(watch(Path(sys.argv[1]), int(sys.argv[2]), as_json=False, stop_on_interrupt=True))"
    )
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", code, database, str(unmoved)], stdout=subprocess.PIPE, text=True
    )
    try:
        read_until(process, "decoding")
        process.send_signal(signal.SIGINT)
        read_until(process, "stopping after this round")
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=TIMEOUT_S)
    finally:
        process.kill()
    assert f"spectui attach {unmoved}" in said
    assert process.returncode == 0
    assert reader.session(unmoved).status == "running"
    assert reader.pending_commands(unmoved) == ["stop"]


def test_leaving_attach_never_stops_the_run(spectui: Popen, unmoved: int, reader: Reader) -> None:
    process = spectui("attach", "unmoved")
    read_until(process, "decoding")
    process.send_signal(signal.SIGINT)
    stdout, _ = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0
    assert f"spectui attach {unmoved}" in stdout
    assert reader.pending_commands(unmoved) == []


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_prompts_that_failed_are_counted_wherever_the_session_is_told_of(
    invoke: Invoke, database: Path, failing: int
) -> None:
    db = open_database(database)
    config = RunConfig()
    session = create_session(
        db,
        config_json=config.to_json(),
        target="tiny",
        drafter="recycling",
        tree=config.tree_spec,
        prompts=[PromptRecord("a-1", "a", "x"), PromptRecord("a-2", "a", "y")],
    )
    writer = SessionWriter(db, session)
    writer.claim()
    writer.set_status("running")
    for i, generation in enumerate(writer.pending_generations()):
        if i < failing:
            writer.finish_generation(generation.id, "failed", error="the prompt is too long")
        else:
            writer.start_generation(generation.id, 3)
            writer.finish_generation(generation.id, "finished", output="", finish_reason="eos")
    writer.set_status("finished")
    db.close()
    result = invoke("attach")
    assert ("1/2 a-1: failed: the prompt is too long" in result.stdout) == (failing > 0)
    assert result.exit_code == (1 if failing else 0), result.output
    how_many = ("", "1 of 2 prompts", "every prompt")[failing]
    assert result.stderr.startswith(
        f"spectui: {how_many} failed, the first with: the prompt is too long (log: "
    ) or (not failing and result.stderr == "")
    words = ("", "1 failed", "all failed")[failing]
    for command in (("sessions", "ls"), ("sessions", "show")):
        assert (words or "failed") in invoke(*command).stdout or not failing
        assert ("failed" in invoke(*command).stdout) == (failing > 0)
    assert json.loads(invoke("sessions", "ls", "--json").stdout)[0]["prompts_failed"] == failing
    shown = json.loads(invoke("sessions", "show", "--json").stdout)
    assert shown["prompts_failed"] == shown["figures"]["prompts_failed"] == failing
    assert (f"; {failing} of 2 prompts failed" in invoke("report").stdout) == (failing > 0)
    with Reader(database) as reader:
        cells = {column.title: column.cell(reader.session(1))[0] for column in session_columns()}
    assert cells["status"] == ("✓ finished", "! 1 failed", "✗ all failed")[failing]
    assert parse("status:failed").matches(entry_of(Reader(database).session(1))) == (failing > 0)


def test_a_worker_that_cannot_be_started_is_a_failed_session(
    invoke: Invoke, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SPECTUI_LOGS", str(tmp_path / "file" / "logs"))
    result = invoke("run", "--target", model)
    assert result.exit_code == 1
    assert "SPECTUI_LOGS" in result.stderr
    assert result.stderr.count("\n") == 1
    shown = json.loads(invoke("sessions", "show", "--json").stdout)
    assert shown["status"] == "failed"
    assert "SPECTUI_LOGS" in shown["error"]


@pytest.mark.usefixtures("workers")
def test_files_of_a_run_are_kept_as_absolute_paths_and_its_drafter_by_name(
    database: Path,
    tmp_path: Path,
    model: Path,
    reader_of: Callable[[Path], Reader],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The worker, or a resumed run, may look from another directory.
    from spectui.tui.start import start_run

    monkeypatch.chdir(tmp_path)
    (tmp_path / "tree.json").write_text("[[0], [0, 0]]")
    (tmp_path / "linked").symlink_to(model)
    config = RunConfig(target="linked", tree="tree.json", max_new_tokens=1)
    session = start_run(database, config, [Prompt("a", "a", "x")], "paths")
    reader = reader_of(database)
    until(lambda: not reader.session(session).live)
    summary = reader.session(session)
    assert summary.status == "finished", summary.error
    assert summary.config["target"] == str(tmp_path / "linked")
    assert summary.config["tree"] == str(tmp_path / "tree.json")
    # What the default is may change before the run is resumed.
    assert summary.config["draft"] == config.draft_name


@pytest.fixture
def reader_of() -> Callable[[Path], Reader]:
    """Opens a database that is there only later."""
    return Reader


def test_what_is_noted_of_a_run_is_told_before_its_prompts_even_when_it_is_over_at_once(
    database: Path,
) -> None:
    """The settings that are applied, a draft's shorter context; why it ended is told by whoever follows it."""
    db = open_database(database)
    prompts = [PromptRecord("a-1", "a", "x")]
    session = create_session(
        db,
        config_json=RunConfig().to_json(),
        target="tiny",
        drafter="recycling",
        tree="chain:1",
        prompts=prompts,
    )
    said: list[str] = []
    with Reader(database) as reader:
        follower = Follower(reader, session, said.append)
        writer = SessionWriter(db, session)
        writer.claim()
        writer.add_event("settings", "not applied from generation_config.json: num_beams 4")
        (generation,) = writer.pending_generations()
        writer.finish_generation(generation.id, "failed", error="too long")
        writer.add_event("memory", "once more", generation.id)
        writer.add_event("limit", "reached --max-nodes 1")
        writer.set_status("stopped")
        follower.until_end()
    db.close()
    assert [line.partition("  ")[2] for line in said] == [
        "settings: not applied from generation_config.json: num_beams 4",
        "1/1 a-1: failed: too long",
    ]
