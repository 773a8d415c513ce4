"""Protects `spectui prompts`: lengths by task, and imports that say on stderr what they left out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from spectui.decoding.tokens.lengths import token_lengths
from spectui.prompts import BUNDLED_TASKS, load
from spectui.prompts.importers import FORMATS
from tests.cli.conftest import Invoke

LINES = (
    '{"question": "One and one?", "answer": "2"}\n'
    '{"answer": "2"}\n'
    '{"question": "Two and two?", "answer": "4"}\n'
)


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    path = tmp_path / "theirs.jsonl"
    path.write_text(LINES)
    return path


def test_the_bundled_prompts_are_counted_by_task(invoke: Invoke) -> None:
    counted = json.loads(invoke("prompts", "check", "--json").stdout)
    assert counted["file"] == "bundled"
    assert counted["tasks"] == dict.fromkeys(BUNDLED_TASKS, 50)
    assert invoke("prompts", "check").stdout.startswith(
        "bundled: 200 prompts: code 50, math 50, logic 50, chat 50\n"
    )


def test_lengths_are_unknown_while_the_embedded_model_is_not_there(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPECTUI_CACHE", str(tmp_path / "cache"))
    assert token_lengths(["One"]) is None
    listed = json.loads(invoke("prompts", "ls", "math", "--json").stdout)
    assert [item["tokens"] for item in listed] == [None] * 50
    assert "spectui models pull" in invoke("prompts", "check").stdout


@pytest.mark.model
def test_lengths_are_those_of_the_embedded_tokenizer(invoke: Invoke, embedded_folder: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(embedded_folder)
    listed = json.loads(invoke("prompts", "ls", "math", "--json").stdout)
    expected = [len(tokenizer(item["text"], add_special_tokens=False)["input_ids"]) for item in listed]
    assert [item["tokens"] for item in listed] == expected
    spread = json.loads(invoke("prompts", "check", "--json").stdout)["tokens"]["math"]
    assert (spread["least"], spread["most"]) == (min(expected), max(expected))


def test_an_import_goes_to_stdout_and_its_skipped_lines_to_stderr(invoke: Invoke, theirs: Path) -> None:
    result = invoke("prompts", "import", "--format", "gsm8k", theirs)
    assert result.exit_code == 0
    assert [json.loads(line)["id"] for line in result.stdout.splitlines()] == ["gsm8k-0001", "gsm8k-0003"]
    assert result.stderr == f"{theirs}:2: skipped: 'question' is missing\n"


def test_an_import_to_a_file_is_what_a_run_takes_and_replaces_nothing_unasked(
    invoke: Invoke, theirs: Path, tmp_path: Path
) -> None:
    out = tmp_path / "ours.jsonl"
    words = ("prompts", "import", "--format", "gsm8k", "--task", "sums", theirs, "--out", out)
    assert invoke(*words).stdout == f"wrote {out}: 2 prompts: sums 2; 1 line skipped\n"
    assert [p.task for p in load(out)] == ["sums", "sums"]
    again = invoke(*words)
    assert again.exit_code == 2
    assert "--force replaces it" in again.stderr
    imported = json.loads(invoke(*words, "--force", "--json").stdout)
    assert (imported["tasks"], imported["out"]) == ({"sums": 2}, str(out))
    assert imported["skipped"] == [{"line": 2, "reason": "'question' is missing"}]
    assert "prompts" not in imported
    assert len(json.loads(invoke(*words[:-2], "--json").stdout)["prompts"]) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--format", "mmlu"], "--format 'mmlu' is unknown; choose from humaneval, gsm8k"),
        (["--format", "humaneval"], "'task_id' is missing; it looks like --format gsm8k"),
        (["--format", "gsm8k", "--task", "A B"], "--task 'A B' is not a valid name"),
        (["--format", "jsonl"], "line 1: 'prompt' is missing; it looks like --format gsm8k"),
    ],
)
def test_what_cannot_be_imported_is_one_line(
    invoke: Invoke, theirs: Path, words: list[str], said: str
) -> None:
    refused = invoke("prompts", "import", *words, theirs)
    assert refused.exit_code == 2
    assert said in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert refused.stdout == ""


def test_help_names_every_format(invoke: Invoke) -> None:
    said = invoke("prompts", "import", "--help").stdout
    assert all(name in said for name in FORMATS)
