"""The bench as its users run it: every arm, a dashboard included, and every figure it promises."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.before.files import check_keys
from tests.models import cut_down, tiny_llama, tiny_tokenizer

FIGURES = {
    "ratio_vs_greedy", "ratio_vs_own_plain", "ratio_vs_assisted", "tokens_per_round", "verify_ms", "draft_ms",
    "other_share", "recording_ratio", "dashboard_ratio",
}  # fmt: skip


@pytest.mark.parametrize("draft", ["recycling", "model"])
def test_every_figure_is_there_and_outputs_are_those_of_generate(tmp_path: Path, draft: str) -> None:
    """A dashboard watches one of them: it is waited for again and again."""
    watched = draft == "recycling"
    model = tiny_llama(tmp_path / "target", context=2048, layers=3)
    if draft == "model":
        cut_down(model, tmp_path / "draft", 2, tiny_tokenizer())
        draft = str(tmp_path / "draft")
    command = [
        sys.executable,
        "-m",
        "spectui.decoding.bench",
        "--target",
        str(tmp_path / "target"),
        "--draft",
        draft,
    ]
    command += ["--per-task", "1", "--max-new-tokens", "16", "--json"]
    command += [] if watched else ["--no-dashboard"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    check_keys("spectui bench --json", figures)
    measured = {name for name in FIGURES if isinstance(figures[name], float) and figures[name] > 0}
    assert measured == FIGURES - (set() if watched else {"dashboard_ratio"})
    assert figures["identical_prompts"] == figures["prompts"] == 4
    assert figures["divergences"] == []
    assert set(figures["tasks"]) == {"code", "math", "logic", "chat"}
    assert figures["tokens_per_round"] >= 1


def test_what_cannot_be_run_is_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "spectui.decoding.bench", "--target", str(tmp_path / "nowhere")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("spectui: model folder")
    assert "Traceback" not in done.stderr
