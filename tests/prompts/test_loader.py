"""Protects the prompt files: what is bundled, what is taken from users, and how a bad line is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectui.prompts import Prompt, PromptError, bundled, interleave, load, problems
from spectui.prompts.lines import TASK_NAME
from spectui.prompts.loader import first_of_each_task

GOOD = '{"task": "rag", "prompt": "Who?"}'


Write = Callable[[str | bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(content: str | bytes) -> Path:
        path = tmp_path / "mine.jsonl"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def test_selection_takes_the_first_of_each_task_in_the_order_asked_for() -> None:
    chosen = bundled(["chat", "code"], per_task=2)
    assert [p.id for p in chosen] == ["chat-001", "chat-002", "code-001", "code-002"]


def test_a_task_asked_for_twice_is_run_once() -> None:
    assert len(bundled(["math", "math"], per_task=3)) == 3


def test_unknown_task_and_bad_number_are_refused_with_what_would_do() -> None:
    with pytest.raises(PromptError, match=r"no bundled task 'poetry'; choose from code, math, logic, chat"):
        bundled(["code", "poetry"])
    with pytest.raises(PromptError, match="--per-task is 0"):
        bundled(per_task=0)


def test_per_task_counts_tasks_of_a_file_separately() -> None:
    prompts = [Prompt(str(i), "ab"[i % 2], "x") for i in range(6)]
    assert [p.id for p in first_of_each_task(prompts, 2)] == ["0", "1", "2", "3"]


def test_interleaving_takes_turns_and_loses_nothing() -> None:
    prompts = [Prompt(f"{t}{i}", t, "x") for t, n in (("a", 3), ("b", 1), ("c", 2)) for i in range(n)]
    assert [p.id for p in interleave(prompts)] == ["a0", "b0", "c0", "a1", "c1", "a2"]
    assert interleave([]) == []


def test_a_file_brings_its_own_tasks_and_is_numbered_per_task(write: Write) -> None:
    path = write(
        '{"task": "rag", "prompt": "One"}\n'
        '{"task": "translation", "prompt": "Zwei", "answer": 2}\n\n'
        '{"id": "mine", "task": "rag", "prompt": "Drei"}\n'
        '{"task": "rag", "prompt": "Vier\\n"}'
    )
    assert load(path) == [
        Prompt("rag-001", "rag", "One"),
        Prompt("translation-001", "translation", "Zwei"),
        Prompt("mine", "rag", "Drei"),
        Prompt("rag-002", "rag", "Vier\n"),
    ]


def test_a_given_id_is_never_taken_by_numbering(write: Write) -> None:
    # The given id stands after the line that would have been numbered alike.
    path = write(GOOD + '\n{"id": "rag-001", "task": "rag", "prompt": "b"}\n')
    assert [p.id for p in load(path)] == ["rag-002", "rag-001"]


@pytest.mark.parametrize(
    "content", [b"\xef\xbb\xbf" + GOOD.encode(), GOOD.encode() + b"\r\n", b"\n\n" + GOOD.encode()]
)
def test_byte_order_mark_windows_line_ends_and_blank_lines_are_taken(write: Write, content: bytes) -> None:
    assert [p.text for p in load(write(content))] == ["Who?"]


def test_line_separators_inside_a_prompt_do_not_cut_it(write: Write) -> None:
    text = "a\u2028b\x85c\x0cd"
    path = write(json.dumps({"task": "t", "prompt": text}, ensure_ascii=False).replace("\x0c", "\\f"))
    assert load(path)[0].text == text


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "not JSON"),
        ("nonsense", "not JSON"),
        ("[1]", "not an object"),
        ("[" * 100_000, "not JSON"),
        ('{"task": "a", "prompt": ' + "9" * 5000 + "}", "not JSON"),
        ('{"answer": "x"}', "'prompt' is missing; its keys are 'answer'"),
        ('{"task": "a"}', "'prompt' is missing"),
        ('{"task": "a", "prompt": 3}', "'prompt' is not a string"),
        ('{"task": "a", "prompt": null}', "'prompt' is not a string"),
        ('{"task": ["a"], "prompt": "x"}', "'task' is not a string"),
        ('{"id": [7], "task": "a", "prompt": "x"}', "'id' is not a string"),
        ('{"task": "a", "prompt": "  \\n"}', "'prompt' is empty"),
        ('{"id": "", "task": "a", "prompt": "x"}', "'id' is empty"),
        ('{"task": "Code!", "prompt": "x"}', "is not a valid name"),
        ('{"task": "a\\u001b[31m", "prompt": "x"}', "is not a valid name"),
        ('{"task": "' + "a" * 33 + '", "prompt": "x"}', "is not a valid name"),
        ('{"id": "a\\nb", "task": "a", "prompt": "x"}', "is not a valid id"),
        ('{"id": "twice", "task": "a", "prompt": "x"}', "already that of line 1"),
        ('{"task": "a", "prompt": "\\ud800"}', "surrogate"),
        (b'{"task": "a", "prompt": "\xff"}', "not UTF-8 (byte 26"),
    ],
)
def test_a_bad_line_is_refused_with_its_place_and_reason(
    write: Write, line: str | bytes, reason: str
) -> None:
    raw = line.encode() if isinstance(line, str) else line
    path = write(b'{"id": "twice", "task": "a", "prompt": "x"}\n\n' + raw + b"\n")
    with pytest.raises(PromptError) as caught:
        load(path)
    message = str(caught.value)
    assert message.startswith(f"{path}:3: ")
    assert reason in message
    assert len(message.splitlines()) == 1


def test_every_bad_line_is_listed_by_the_check(write: Write) -> None:
    path = write("{\n" + GOOD + '\n{"task": 1, "prompt": "x"}\n')
    assert [p.split(": ")[0] for p in problems(path)] == [f"{path}:1", f"{path}:3"]
    assert problems(write(GOOD)) == []


@pytest.mark.parametrize("content", ["", "\n \n", b"\xef\xbb\xbf"])
def test_a_file_without_prompts_is_refused(write: Write, content: str | bytes) -> None:
    with pytest.raises(PromptError, match="no prompts in it"):
        load(write(content))


def test_a_missing_file_a_folder_and_an_impossible_name_are_refused(tmp_path: Path) -> None:
    for path, reason in (
        (tmp_path / "none", "no such file"),
        (tmp_path, "cannot be read"),
        ("a\0b", "not a file name"),
    ):
        with pytest.raises(PromptError, match=reason):
            load(path)
        assert len(problems(path)) == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
LINES = st.one_of(
    st.binary(max_size=80),
    JSON.map(lambda value: json.dumps(value).encode()),
    st.fixed_dictionaries(
        {"task": st.sampled_from(["a", "A", "b-1", ""]) | JSON, "prompt": st.text() | JSON}
    ).map(lambda value: json.dumps(value).encode()),
)


@given(st.lists(LINES, max_size=6))
def test_any_file_is_either_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "f.jsonl"
    path.write_bytes(b"\n".join(lines))
    problem_lines = problems(path)
    if problem_lines:
        with pytest.raises(PromptError) as caught:
            load(path)
        assert str(caught.value) == problem_lines[0]
        assert not any("\n" in problem for problem in problem_lines)
        return
    prompts = load(path)
    assert prompts
    assert len({p.id for p in prompts}) == len(prompts)
    assert all(TASK_NAME.fullmatch(p.task) and p.text.strip() for p in prompts)
