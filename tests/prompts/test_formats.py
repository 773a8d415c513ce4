"""Protects the one reader of prompt files: what people have is known by what it holds, and nothing is dropped unsaid.

What is expected is written out for every format; conversations are made at random and written in each of them.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spectui.prompts import Message, Prompt, load, problems
from spectui.prompts.chat import ANSWERS, from_json, readable, to_json
from spectui.prompts.importers import import_file, json_lines
from spectui.prompts.reading import Reading, read
from spectui.prompts.records import PLAIN
from spectui.prompts.shapes import COMPLETION, FURTHER_TURNS, SETTINGS

Turns = list[tuple[str, str]]

SYSTEM = {"role": "system", "content": "Be brief."}
HI = {"role": "user", "content": "Hi"}
HELLO = {"role": "assistant", "content": "Hello"}
WHY = {"role": "user", "content": "Why?"}
ASKED: Turns = [("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello"), ("user", "Why?")]

RECORDS: list[tuple[Any, str, Turns, tuple[str, ...]]] = [
    # An object of a file, the task and the turns that it asks, and what is said to be left out.
    ({"prompt": "Hi"}, "prompts", [("user", "Hi")], ()),
    ({"question": "Hi", "answer": "x"}, "prompts", [("user", "Hi")], ()),
    ({"Question": "Hi", "Subject": "Abstract Algebra"}, "abstract-algebra", [("user", "Hi")], ()),
    ({"question": "1+1?", "answer": "1+1=<<1+1=2>>2\n#### 2"}, "math", [("user", "1+1?")], ()),
    ({"problem": "P", "type": "Counting & Probability", "solution": "s"}, "counting-probability", [("user", "P")], ()),
    ({"text": "Write f", "code": "x", "task_id": 2, "test_list": ["a"]}, "code", [("user", "Write f")], ()),
    ({"question_id": 0, "category": "", "turns": ["Hi"], "reference": ["x"]}, "prompts", [("user", "Hi")], ()),
    ({"question_id": 81, "category": "writing", "turns": ["A", "B"]}, "writing", [("user", "A")], (FURTHER_TURNS,)),
    ({"question_id": "f0", "category": "hard", "turns": [{"content": "A"}]}, "hard", [("user", "A")], ()),
    ({"question_id": "f0", "category": "qa", "multiturn": True, "messages": [HI, WHY]}, "qa",
     [("user", "Hi")], (FURTHER_TURNS,)),
    ({"id": "x", "messages": [HI, WHY]}, "prompts", [("user", "Hi"), ("user", "Why?")], ()),
    ({"question": "Q?", "choices": ["x", "y"], "answer": 1}, "prompts", [("user", "Q?\n\nA. x\nB. y")], ()),
    ({"instruction": "I", "input": "", "output": "O"}, "prompts", [("user", "I")], ()),
    ({"instruction": "I", "input": "N", "output": "O"}, "prompts", [("user", "I\n\nN")], ()),
    ({"instruction": "I", "context": "C", "response": "R", "category": "closed_qa"}, "closed_qa",
     [("user", "I\n\nC")], ()),
    ({"system_prompt": "S", "question": "Q", "response": "R"}, "prompts", [("system", "S"), ("user", "Q")], ()),
    ({"instruction": "I", "input": "", "output": "O", "system": "S", "history": [["a", "b"]]}, "prompts",
     [("system", "S"), ("user", "a"), ("assistant", "b"), ("user", "I")], ()),
    ({"messages": [SYSTEM, HI, HELLO, WHY]}, "prompts", ASKED, ()),
    ({"task": "t", "messages": [SYSTEM, HI, HELLO, WHY, HELLO]}, "t", ASKED, (ANSWERS,)),
    ({"messages": [HI]}, "prompts", [("user", "Hi")], ()),
    ({"prompt": [SYSTEM, HI], "chosen": [HELLO]}, "prompts", ASKED[:2], ()),
    ({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]},
     "prompts", [("user", "a\nb")], ()),
    ({"id": "0", "data": ["Hi", "Hello", "Why?", "x"]}, "prompts", ASKED[1:], (ANSWERS,)),
    ({"custom_id": "r", "method": "POST", "url": "/v1/chat/completions",
      "body": {"model": "m", "messages": [SYSTEM, HI]}}, "prompts", ASKED[:2], (SETTINGS,)),
    ({"custom_id": "r", "method": "POST", "url": "/v1/completions", "body": {"model": "m", "prompt": "Hi"}},
     "prompts", [("user", "Hi")], (SETTINGS, COMPLETION)),
    ({"custom_id": "r", "body": {"instructions": "Be brief.", "input": "Hi"}}, "prompts", ASKED[:2], ()),
    ({"input": [{"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}]}, "prompts",
     [("user", "Hi")], ()),
    ({"custom_id": "r", "params": {"system": "Be brief.", "messages": [HI]}}, "prompts", ASKED[:2], ()),
    ({"request": {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}],
      "systemInstruction": {"parts": [{"text": "Be brief."}]}}}, "prompts", ASKED[:2], ()),
    ({"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "x"}]}, "prompts",
     [("user", "Hi")], (ANSWERS,)),
    ({"items": [{"from": "system", "value": "Be brief."}, {"from": "human", "value": "Hi"}]}, "prompts",
     ASKED[:2], ()),
    ({"system": "Be brief.", "conversations": [{"from": "human", "value": "Hi"}]}, "prompts", ASKED[:2], ()),
    ({"conversation": [{"input": "Hi", "output": "Hello"}, {"input": "Why?", "output": "x"}]}, "prompts",
     ASKED[1:], (ANSWERS,)),
    ([HI, HELLO, WHY], "prompts", ASKED[1:], ()),
    ({"row_idx": 0, "row": {"prompt": "Hi"}}, "prompts", [("user", "Hi")], ()),
]  # fmt: skip


def turns(prompt: Prompt) -> Turns:
    return (
        [("user", prompt.text)] if prompt.messages is None else [(m.role, m.content) for m in prompt.messages]
    )


def given_as(path: Path, content: bytes | str) -> Reading:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read(path)


@pytest.mark.parametrize(("record", "task", "asked", "notes"), RECORDS)
def test_a_record_of_each_kind_asks_what_it_says(
    tmp_path: Path, record: Any, task: str, asked: Turns, notes: tuple[str, ...]
) -> None:
    second = {"prompt": "Another"}
    whole: list[tuple[str, Any]] = [
        (json.dumps(record) + "\n" + json.dumps(second) + "\n", None),
        (json.dumps([record, second]), None),
        (json.dumps([record, second], indent=2), None),
        (json.dumps({"version": 1, "data": [record, second]}), None),
    ]
    if isinstance(record, dict):
        whole.append((json.dumps(record, indent=1) + "\n\n" + json.dumps(second, indent=1), None))
    for content, _ in whole:
        if isinstance(record, list) and content.startswith('{"version"'):
            continue
        reading = given_as(tmp_path / "theirs", content)
        assert reading.problems == [], content
        assert [turns(prompt) for prompt in reading.prompts] == [asked, [("user", "Another")]], content
        assert reading.prompts[0].task == task
        assert tuple(reading.notes) == notes
    # What is imported is kept whole, so that a run reads the same.
    reading = given_as(tmp_path / "theirs", whole[0][0])
    ours = tmp_path / "ours.jsonl"
    ours.write_text(json_lines(import_file(tmp_path / "theirs").prompts))
    assert load(ours) == reading.prompts


TABLE = [["Prompt", "category", "id"], ['Hello, "you"\nand you; all|', "Open QA", "7"], ["Plain", "", ""]]


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_table_is_known_by_its_header(tmp_path: Path, delimiter: str, end: str, encoding: str) -> None:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator=end).writerows(TABLE)
    reading = given_as(tmp_path / "t", text.getvalue().encode(encoding))
    assert reading.problems == []
    assert reading.prompts == [
        Prompt("7", "open-qa", TABLE[1][0]),
        Prompt("prompts-001", "prompts", "Plain"),
    ]


def test_a_table_may_hold_conversations_as_json(tmp_path: Path) -> None:
    text = io.StringIO()
    csv.writer(text).writerows(
        [["n", "messages"], ["1", json.dumps([SYSTEM, HI])], ["2", "[{'role': 'user'}]"]]
    )
    reading = given_as(tmp_path / "t", text.getvalue())
    assert [turns(prompt) for prompt in reading.prompts] == [ASKED[:2]]
    assert [problem.line for problem in reading.problems] == [3]
    assert "is not JSON" in reading.problems[0].reason


def test_plain_text_is_a_prompt_a_line_and_said_to_be(tmp_path: Path) -> None:
    reading = given_as(tmp_path / "t", "Hello, world\r\n\r\nWhy is the sky blue?\nÄpfel, Birnen\n")
    assert [prompt.text for prompt in reading.prompts] == [
        "Hello, world",
        "Why is the sky blue?",
        "Äpfel, Birnen",
    ]
    assert list(reading.notes) == [PLAIN]


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_packed_files_are_known_by_their_first_bytes(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    parts = [json.dumps({"prompt": f"{i} " + "x" * 50_000}).encode() + b"\n" for i in range(20)]
    whole = b"".join(parts)
    # As one stream, as one after the other, and with the zeros that tapes add.
    for packed in (
        pack(whole),
        pack(b"".join(parts[:7])) + pack(b"".join(parts[7:])),
        pack(whole) + b"\0" * 99,
    ):
        reading = given_as(tmp_path / "x.txt", packed)
        assert reading.problems == []
        assert [prompt.text.split()[0] for prompt in reading.prompts] == [str(i) for i in range(20)]
    for cut in (pack(whole)[:-5], pack(whole)[: len(pack(whole)) // 2]):
        reading = given_as(tmp_path / "x", cut)
        assert reading.fatal is not None
        assert "its end is missing" in reading.fatal.reason
        assert problems(tmp_path / "x") == [problem.describe(reading.name) for problem in reading.problems]
    assert "is damaged" in given_as(tmp_path / "x", pack(whole)[:12] + b"rubbish").problems[0].reason
    assert "within a" in given_as(tmp_path / "x", pack(gzip.compress(whole))).problems[0].reason


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04..", "a zip archive"),
        (b"\x28\xb5\x2f\xfd\0", "a Zstandard file"),
        (b"%PDF-1.7", "a PDF file"),
        (b"a" * 257 + b"ustar", "a tar archive"),
        (b"SQLite format 3\0", "an SQLite database"),
        (b"\x80\x04\x95", "a Python pickle"),
        (b"version https://git-lfs.github.com/spec/v1\noid x", "git lfs pull"),
        (b"\n<!DOCTYPE html><html>", "a web page"),
        (b"- prompt: x\n- prompt: y\n", "looks like YAML"),
        (b"prompts:\n  - x\n", "looks like YAML"),
        (b"Frage,Antwort\na,b\nc,d\n", "no column is known to hold prompts (Frage, Antwort)"),
        (b"prompt,prompt\na,b\n", "two columns are called 'prompt'"),
        (b'prompt\n"a\nb\n', "is a quote missing?"),
        (b"prompt,x\na,b,c\n", "3 columns, but the first line names 2"),
        (b"\0" * 4096, "it holds NUL bytes"),
        ("Hello there".encode("utf-16-le"), "UTF-16 without a byte order mark"),
        (b"\xff\xfeH\0\0\xd8i\0", "not UTF-16-LE"),
        (b'[{"prompt": "x"}, ', "not JSON"),
        (b'[{"prompt": "x"}', "the list has no end"),
        (b'[{"prompt": "x"}] [', "something comes after its end"),
        (b'[{"prompt": "x"} {"prompt": "y"}]', "a comma or ] is missing"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[" + b"9" * 10_000 + b"]", "a number too long"),
        (b'{"messages": []}', "'messages' has no message"),
        (b'{"messages": "x"}', "'messages' is not a list of messages"),
        (b'{"messages": [{"role": "system", "content": "x"}]}', "has no turn of a user"),
        (b'{"messages": [{"role": "wizard", "content": "x"}]}', "has the role 'wizard'"),
        (b'{"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}', "a part of type 'image_url'"),
        (b'{"messages": [{"role": "user", "content": "\\ud800"}]}', "half of a surrogate pair"),
        (b'{"messages": [{"role": "user", "content": null}]}', "has no text"),
        (b'{"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "tool_calls": [1]}]}', "calls a tool"),
        (b'{"messages": [{"role": "user", "content": "x"}], "tools": [{"type": "function"}]}', "it has 'tools'"),
        (b'{"custom_id": "a", "url": "/v1/embeddings", "body": {"input": "x"}}', "something else than text"),
        (b'{"conversations": [{"from": "gpt", "value": "x"}]}', "has no turn of a user"),
    ],
)  # fmt: skip
def test_what_is_none_is_refused_with_what_it_is(tmp_path: Path, content: bytes, message: str) -> None:
    reading = given_as(tmp_path / "theirs", content)
    (problem,) = [problem.describe(reading.name) for problem in reading.problems]
    assert problem.startswith(f"{tmp_path / 'theirs'}:")
    assert message in problem
    assert "\n" not in problem
    assert reading.prompts == []


def test_problems_are_said_with_line_and_place_in_a_list(tmp_path: Path) -> None:
    reading = given_as(tmp_path / "x", '[\n{"prompt": "a"},\n\n{"prompt": 3}, {}, 7\n]')
    assert [problem.describe("x") for problem in reading.problems] == [
        "x:4: item 2: 'prompt' is not a string",
        "x:4: item 3: 'prompt' is missing; its keys are none",
        'x:4: item 4: not an object; give {"task": ..., "prompt": ...}',
    ]


@pytest.mark.parametrize(
    "whole",
    [
        {"prompt": ["a", "b"], "category": ["x", "y"]},
        {"prompt": {"0": "a", "1": "b"}, "category": {"0": "x", "1": "y"}},
        {"7": {"question": "a", "category": "x"}, "8": {"question": "b", "category": "y"}},
        {"requests": [{"custom_id": i, "params": {"prompt": i}, "category": c} for i, c in ("ax", "by")]},
        {"rows": [{"row_idx": 0, "row": {"text": t, "category": c}} for t, c in ("ax", "by")]},
    ],
)  # fmt: skip
def test_one_object_may_hold_all_of_them(tmp_path: Path, whole: dict[str, Any]) -> None:
    for indent in (None, 2):
        reading = given_as(tmp_path / "x", json.dumps(whole, indent=indent))
        assert [(prompt.task, prompt.text) for prompt in reading.prompts] == [("x", "a"), ("y", "b")]


def test_parquet_is_read_by_its_rows(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "train-00000-of-00001"
    table = [
        {"messages": [SYSTEM, HI, HELLO], "prompt": None},
        {"messages": None, "prompt": "b"},
        {"prompt": " "},
    ] * 30
    pq.write_table(pa.Table.from_pylist(table), path, row_group_size=40)
    reading = read(path)
    assert [turns(prompt) for prompt in reading.prompts] == [ASKED[:2], [("user", "b")]] * 30
    assert [problem.describe("x") for problem in reading.problems[:2]] == [
        "x:3: 'prompt' is empty",
        "x:6: 'prompt' is empty",
    ]
    whole = path.read_bytes()
    for damaged in (whole[:-9], whole[:400] + bytes(200) + whole[600:], b"PAR1"):
        path.write_bytes(damaged)
        (problem_line,) = [
            problem.describe("x") for problem in read(path).problems if "damaged" in problem.reason
        ]
        assert "\n" not in problem_line


def test_nesting_and_line_ends_of_any_kind(tmp_path: Path) -> None:
    reading = given_as(tmp_path / "x", b'{"prompt": "a"}\r{"prompt": "b"}\r')
    assert [prompt.text for prompt in reading.prompts] == ["a", "b"]
    for depth in (50, 900, 5000):
        reading = given_as(tmp_path / "x", '{"row":' * depth + '{"prompt": "a"}' + "}" * depth)
        reasons = [problem.reason for problem in reading.problems]
        assert (reading.prompts and not reasons) or ["nested too deeply" in reason for reason in reasons] == [
            True
        ]


def test_ids_that_others_repeat_are_numbered_anew_and_ours_are_refused(tmp_path: Path) -> None:
    reading = given_as(
        tmp_path / "x", '{"uuid": 1, "text": "a"}\n{"uuid": 1, "text": "b"}\n{"uuid": [], "text": "c"}\n'
    )
    assert [prompt.id for prompt in reading.prompts] == ["1", "prompts-001", "prompts-002"]
    reading = given_as(tmp_path / "x", '{"id": 1, "task": "t", "prompt": "a"}\n' * 2)
    assert [problem.reason for problem in reading.problems] == ["id '1' is already that of line 1"]


TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=12).filter(str.strip)
CONVERSATIONS = st.builds(
    lambda system, pairs, last: [
        *([Message("system", system)] if system else []),
        *(
            Message(role, text)
            for pair in pairs
            for role, text in zip(("user", "assistant"), pair, strict=True)
        ),
        Message("user", last),
    ],
    st.none() | TEXT,
    st.lists(st.tuples(TEXT, TEXT), max_size=2),
    TEXT,
)
SHAREGPT = {"system": "system", "user": "human", "assistant": "gpt"}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(st.lists(CONVERSATIONS, min_size=1, max_size=3))
def test_a_conversation_survives_every_format(tmp_path: Path, asked: list[list[Message]]) -> None:
    openai = [{"messages": [{"role": m.role, "content": m.content} for m in turns]} for turns in asked]
    sharegpt = [
        {"conversations": [{"from": SHAREGPT[m.role], "value": m.content} for m in turns]} for turns in asked
    ]
    batch = [{"custom_id": f"r{i}", "body": record} for i, record in enumerate(openai)]
    for records in (openai, sharegpt, batch):
        for content in (
            "\n".join(json.dumps(record) for record in records),
            "\r\n".join(json.dumps(record, ensure_ascii=False) for record in records),
            json.dumps(records),
            json.dumps(records, indent=3, ensure_ascii=False),
        ):
            reading = given_as(tmp_path / "x", content)
            assert reading.problems == []
            assert [turns(prompt) for prompt in reading.prompts] == [
                [tuple(m) for m in each] for each in asked
            ]
            assert [prompt.text for prompt in reading.prompts] == [readable(each) for each in asked]
    assert [list(from_json(to_json(each))) for each in asked] == asked


MIXED = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["prompt", "messages", "role", "content", "conversations", "from", "value", "turns", "instruction", "input",
             "body", "data", "choices", "system", "history", "row", "id", "task", "category", "tools", "items", "text"]
        ),
        inner,
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(st.lists(MIXED, max_size=3), st.booleans())
def test_whatever_known_keys_hold_is_read_or_refused_in_one_line(
    tmp_path: Path, values: list[Any], lines: bool
) -> None:
    content = "\n".join(map(json.dumps, values)) if lines else json.dumps(values, indent=1)
    reading = given_as(tmp_path / "x", content)
    assert reading.prompts or reading.problems
    for problem in reading.problems:
        assert "\n" not in problem.describe("x")
    for prompt in reading.prompts:
        assert prompt.text.strip()
        prompt.text.encode()
        if prompt.messages is not None:
            assert from_json(to_json(prompt.messages)) == prompt.messages


@pytest.mark.parametrize(
    "content",
    [
        '{"train": [{"question": "a"}], "test": [{"question": "b"}]}',
        '[{"prompt": "a"}]\n[{"prompt": "b"}]\n',
        '\ufeff\ufeff{"prompt": "a"}\n\ufeff{"prompt": "b"}\n',
        '\x1e{"prompt": "a"}\n\x1e{"prompt": "b"}\n',
    ],
    ids=["parts of a data set", "a list a line", "files behind each other", "record separators"],
)
def test_no_part_of_a_file_is_left_out_or_taken_for_text(tmp_path: Path, content: str) -> None:
    reading = given_as(tmp_path / "theirs", content)
    assert (reading.problems, [prompt.text for prompt in reading.prompts]) == ([], ["a", "b"])
