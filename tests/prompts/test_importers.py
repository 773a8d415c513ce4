"""Protects the files of public benchmarks: read as they are published, and every line that is not taken explained."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spectui.prompts import Prompt, PromptError, load
from spectui.prompts.importers import FORMATS, Skipped, import_file, json_lines
from spectui.prompts.shapes import FURTHER_TURNS

HUMANEVAL = {
    "task_id": "HumanEval/0",
    "prompt": 'def double(x: int) -> int:\n    """ Twice x.\n    >>> double(2)\n    4\n    """\n',
    "entry_point": "double",
    "canonical_solution": "    return 2 * x\n",
    "test": "def check(candidate):\n    assert candidate(2) == 4\n",
}
GSM8K = {"question": "Two bags hold 3 nuts each. How many nuts?", "answer": "3*2 = <<3*2=6>>6 nuts.\n#### 6"}
MT_BENCH = {
    "question_id": 111,
    "category": "math",
    "turns": ["Add 2 and 3.", "Now double it."],
    "reference": ["5", "10"],
}
SPEC_BENCH = {"question_id": 161, "category": "translation", "turns": ["Translate German to English: Hallo."]}
# A row as `prepare.py` of NVIDIA-NeMo/Skills writes it for vLLM and AIPerf, its keys and their kinds as published.
SPEED_BENCH = {
    "question_id": "0d1b2c3d4e5f60718293a4b5c6d7e8f9",
    "category": "coding",
    "sub_category": "code_contests",
    "source": "https://example.org/code",
    "src_id": "7_B",
    "difficulty": "hard",
    "multiturn": True,
    "messages": [{"role": "user", "content": "Write a sort."}, {"role": "user", "content": "Now in C."}],
}
SPEED_TURNS = {key: value for key, value in SPEED_BENCH.items() if key != "messages"} | {
    "turns": ["Write a sort.", "Now in C."]
}
"""A row of `test.parquet` as `prepare_data.py` of NVIDIA/Model-Optimizer writes it."""
UNRESOLVED = "FULL BENCHMARK DATA SHOULD BE FETCHED FROM THE SOURCE USING SPECDEC_BENCH"
LINES: dict[str, dict[str, Any]] = {
    "humaneval": HUMANEVAL,
    "gsm8k": GSM8K,
    "mt-bench": MT_BENCH,
    "spec-bench": SPEC_BENCH,
    "speed-bench": SPEED_BENCH,
}

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(*lines: Any) -> Path:
        path = tmp_path / "theirs.jsonl"
        path.write_text("".join((x if isinstance(x, str) else json.dumps(x)) + "\n" for x in lines))
        return path

    return write


@pytest.mark.parametrize(
    ("format", "expected"),
    [
        ("humaneval", Prompt("HumanEval/0", "code", str(HUMANEVAL["prompt"]))),
        ("gsm8k", Prompt("gsm8k-0001", "math", GSM8K["question"])),
        ("mt-bench", Prompt("mt-bench-111", "math", "Add 2 and 3.")),
        ("spec-bench", Prompt("spec-bench-161", "translation", "Translate German to English: Hallo.")),
        ("speed-bench", Prompt(str(SPEED_BENCH["question_id"]), "coding", "Write a sort.")),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_a_line_of_each_format_becomes_its_prompt(
    write: Write, tmp_path: Path, format: str, expected: Prompt, packed: bool
) -> None:
    path = write(LINES[format])
    if packed:
        path = tmp_path / "packed"  # known by its first bytes, whatever it is called
        path.write_bytes(gzip.compress((tmp_path / "theirs.jsonl").read_bytes()))
    imported = import_file(path, format)
    assert imported.prompts == [expected]
    assert imported.skipped == []
    assert imported.shortened == ({FURTHER_TURNS: 1} if format in ("mt-bench", "speed-bench") else {})
    assert [p.task for p in import_file(path, format, "mine").prompts] == ["mine"]


def test_categories_are_tasks_and_spec_bench_takes_those_of_mt_bench_together(write: Write) -> None:
    path = write(
        MT_BENCH,
        SPEC_BENCH,
        {**SPEC_BENCH, "question_id": 400, "category": "Math Reasoning", "turns": ["1+1?"]},
    )
    assert [p.task for p in import_file(path, "mt-bench").prompts] == [
        "math",
        "translation",
        "math-reasoning",
    ]
    assert [p.task for p in import_file(path, "spec-bench").prompts] == [
        "mt_bench",
        "translation",
        "math-reasoning",
    ]


@pytest.mark.parametrize("format", [None, "speed-bench"])
def test_speed_bench_is_read_as_its_scripts_write_it(
    tmp_path: Path, write: Write, format: str | None
) -> None:
    import pyarrow
    import pyarrow.parquet

    other = {**SPEED_TURNS, "question_id": "b", "category": "high_entropy", "turns": ["Sort: 3 1 2"]}
    masked = {**SPEED_TURNS, "question_id": "c", "turns": [UNRESOLVED]}
    path = tmp_path / "test.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([SPEED_TURNS, other, masked]), path)
    prompts = [
        Prompt(str(SPEED_BENCH["question_id"]), "coding", "Write a sort."),
        Prompt("b", "high_entropy", "Sort: 3 1 2"),
    ]
    lines = write(SPEED_BENCH, {**other, "messages": [{"role": "user", "content": "Sort: 3 1 2"}]})
    for imported in (import_file(path, format), import_file(lines, format)):
        assert imported.prompts == prompts
        assert imported.shortened == {FURTHER_TURNS: 1}
    assert ["does not publish this text" in skip.reason for skip in import_file(path, format).skipped] == [
        True
    ]


def test_our_own_format_may_be_given_the_task_it_lacks(write: Write) -> None:
    path = write({"prompt": "One"}, {"prompt": "Two", "task": "rag", "id": "x"})
    assert import_file(path, "jsonl", "all").prompts == [
        Prompt("all-001", "all", "One"),
        Prompt("x", "all", "Two"),
    ]
    imported = import_file(path, "jsonl")
    assert imported.prompts == [Prompt("x", "rag", "Two")]
    assert imported.skipped == [Skipped(1, "'task' is missing; --task names one for all lines")]


@pytest.mark.parametrize(
    ("format", "line", "reason"),
    [
        ("gsm8k", "{", "not JSON"),
        ("gsm8k", "[1]", "not an object"),
        ("gsm8k", {"answer": "4"}, "'question' is missing"),
        ("gsm8k", {"question": 3, "answer": "4"}, "'question' is not a string"),
        ("gsm8k", {"question": " \n", "answer": "4"}, "'question' is empty"),
        ("gsm8k", GSM8K, "the same prompt as line 1"),
        ("humaneval", {"prompt": "def f():"}, "'task_id' is missing"),
        ("humaneval", {**HUMANEVAL, "prompt": "def f():"}, "id 'HumanEval/0' is already that of line 1"),
        ("mt-bench", {**MT_BENCH, "question_id": 2, "turns": []}, "'turns' is not a list of texts"),
        ("mt-bench", {**MT_BENCH, "question_id": 2, "turns": "Hi"}, "'turns' is not a list of texts"),
        ("mt-bench", {**MT_BENCH, "question_id": 2, "turns": [7]}, "'turns' is not a string"),
        ("mt-bench", {"question_id": 2, "turns": ["Hi"]}, "'category' is missing"),
        ("mt-bench", {"category": "math", "turns": ["Hi"]}, "'question_id' is missing"),
        ("speed-bench", {**SPEED_TURNS, "question_id": "a", "turns": [f"{UNRESOLVED}\n\nSolve {{question}}"]},
         "prepare_data.py fetches it"),
        ("speed-bench", {**SPEED_BENCH, "question_id": "a", "messages": []}, "'messages' has no message"),
        ("mt-bench", {**MT_BENCH, "question_id": 2.5, "turns": ["Hi"]}, "'question_id' is neither a number nor a name"),
    ],
)  # fmt: skip
def test_a_line_that_is_no_prompt_is_skipped_with_its_number_and_the_reason(
    write: Write, format: str, line: Any, reason: str
) -> None:
    imported = import_file(write(LINES[format], "", line), format)
    assert len(imported.prompts) == 1
    ((number, given_reason),) = [(skipped.line, skipped.reason) for skipped in imported.skipped]
    assert number == 3
    assert reason in given_reason


def test_the_wrong_format_is_refused_with_the_one_it_looks_like(write: Write) -> None:
    with pytest.raises(
        PromptError, match=r"line 1: 'question' is missing; it looks like --format humaneval$"
    ):
        import_file(write(HUMANEVAL), "gsm8k")
    with pytest.raises(PromptError, match=r"it looks like --format mt-bench or spec-bench$"):
        import_file(write("{", MT_BENCH), "gsm8k")
    with pytest.raises(
        PromptError, match="choose from humaneval, gsm8k, mt-bench, spec-bench, speed-bench, jsonl"
    ):
        import_file(write(GSM8K), "mmlu")
    with pytest.raises(PromptError, match="--task 'Code!' is not a valid name"):
        import_file(write(GSM8K), "gsm8k", "Code!")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no prompts in it"),
        (b"PAR1\x00\x00", "the Parquet file is damaged"),
        (b"PK\x03\x04..", "this is a zip archive"),
        (b"BZh91AY&SY damaged", "the bzip2 file is damaged"),
        (gzip.compress(json.dumps(GSM8K).encode(), mtime=0)[:-9], "the gzip file is damaged"),
    ],
)
def test_a_file_of_another_kind_is_refused_with_what_to_give(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "theirs"
    path.write_bytes(content)
    with pytest.raises(PromptError, match=message) as caught:
        import_file(path, "gsm8k")
    assert str(caught.value).startswith(f"{path}: ")
    with pytest.raises(PromptError, match="no such file"):
        import_file(tmp_path / "none", "gsm8k")


@pytest.mark.parametrize("ascii_only", [False, True])
def test_what_is_written_is_what_a_run_reads(write: Write, tmp_path: Path, ascii_only: bool) -> None:
    path = write({"question": "Wie viele Äpfel?\u2028", "answer": "1"}, GSM8K)
    prompts = import_file(path, "gsm8k").prompts
    written = json_lines(prompts, ascii_only=ascii_only)
    assert written.isascii() == ascii_only
    (tmp_path / "ours.jsonl").write_text(written, encoding="utf-8")
    assert load(tmp_path / "ours.jsonl") == prompts


def test_every_format_is_known_by_its_own_lines() -> None:
    for name, line in LINES.items():
        assert all(key in line for key in FORMATS[name].keys)
