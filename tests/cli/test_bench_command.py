"""Protects that `bench` hands its options to the child that may import torch, and its exit code back."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.cli.conftest import Popen
from tests.cli.test_run import TIMEOUT_S


def test_options_and_exit_codes_pass_through(spectui: Popen) -> None:
    asked = spectui("bench", "--help")
    stdout, _ = asked.communicate(timeout=TIMEOUT_S)
    assert asked.returncode == 0
    assert "usage: spectui bench" in stdout
    assert "--no-dashboard" in stdout
    wrong = spectui("bench", "--per-task", "none")
    _, stderr = wrong.communicate(timeout=TIMEOUT_S)
    assert wrong.returncode == 2
    assert "--per-task" in stderr
    assert "Traceback" not in stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_its_child_ends_with_it_whoever_ends_it(spectui: Popen, tmp_path: Path, number: int) -> None:
    """`kill`, and a supervisor's end, reach this process alone: a training would go on for hours."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    asked = spectui("bench", "--prompts", pipe)
    with pipe.open("wb", buffering=0) as end:  # there is a reader: the child
        asked.send_signal(number)
        _, said = asked.communicate(timeout=TIMEOUT_S)
        assert asked.returncode in (1, 130)
        assert "Traceback" not in said
        with pytest.raises(BrokenPipeError):
            end.write(b"x")
