"""Protects: recordings of a server from the command line, and the commands that read what came of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from spectui.store.reading.reader import Reader
from spectui.tui.cli import main
from tests.servers.recordings.recorder import RECORDED
from tests.waiting import until


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recordings") / "runs.db"


def spectui(database: Path, *words: str) -> Result:
    return CliRunner().invoke(main, [*words, "--db", str(database)], prog_name="spectui")


def test_a_folder_is_recorded_once(database: Path) -> None:
    for _ in range(2):  # the second time there is nothing new
        done = spectui(database, "watch", "--vllm-dir", str(RECORDED), "--once", "--json")
        assert done.exit_code == 0, done.output
        (session,) = json.loads(done.stdout)["sessions"]
        assert (session["prompts"], session["rounds"]) == (8, 189)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("report last", "the target's argmax explains all 189 greedy rounds"),
        ("compare 1 1", "accepted length"),
        ("report last --price 3", "no price can be told from them"),
        ("advise last", "A draft of 4 was not recorded"),
        ("sessions show last", "vLLM 0.32.0"),
        ("sessions ls", "8/8"),
        ("attach last --headless", "8/8 math-002"),
        ("sessions export last --format csv --out {out}", "189 rounds, 567 nodes"),
    ],
)
def test_its_session_is_read_like_any_other(database: Path, tmp_path: Path, command: str, words: str) -> None:
    spectui(database, "watch", "--vllm-dir", str(RECORDED), "--once")
    done = spectui(database, *command.format(out=tmp_path / "out").split())
    assert done.exit_code == 0, done.output
    assert words in " ".join(done.output.split())
    assert "recording {" not in done.output


def test_a_folder_without_a_recording_is_no_success(database: Path, tmp_path: Path) -> None:
    (tmp_path / "other.jsonl").write_text('{"a": 1}\n')
    done = spectui(database, "watch", "--vllm-dir", str(tmp_path), "--once")
    assert (done.exit_code, "nothing is recorded" in done.output) == (4, True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("watch", "--vllm-dir", "nowhere"), "SPECTUI_VLLM_DIR"),
        (("watch", "--vllm-dir", ".", "http://127.0.0.1:1"), "watch a URL with another"),
        (("watch", "--vllm-dir", ".", "--no-record"), "leave out --no-record"),
        (("watch", "--no-text"), "goes with --vllm-dir"),
        (("watch", "--vllm-dir", ".", "--tokenizer", __file__), "is no tokenizer file"),
        (("run", "--resume", "1"), "spectui watch --vllm-dir goes on with it"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(database: Path, words: tuple[str, ...], message: str) -> None:
    spectui(database, "watch", "--vllm-dir", str(RECORDED), "--once")
    done = spectui(database, *words)
    assert done.exit_code != 0
    assert message in " ".join(done.output.split())


def test_a_watch_without_a_terminal_ends_with_its_signal(tmp_path: Path) -> None:
    database = tmp_path / "runs.db"
    program = [sys.executable, "-c", "from spectui.tui.cli import main; main()"]
    command = [*program, "watch", "--vllm-dir", str(RECORDED), "--db", str(database)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) as process:
        try:
            until(lambda: database.exists() and _ended(database))
            process.send_signal(signal.SIGTERM)
            output, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0
    assert "waiting for what servers write" in output
    assert "session 1: vLLM 0.32.0" in output


def _ended(database: Path) -> bool:
    with Reader(database) as reader:
        return [session.status for session in reader.sessions()] == ["finished"]
