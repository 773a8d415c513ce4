"""Protects that `bench` hands its options to the child that may import torch, and its exit code back."""

from __future__ import annotations

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
