"""Protects: no file, packed file or pipe takes more memory or time than is said, and pipes are read once."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from spectui.prompts import load, reading, source
from spectui.prompts.reading import read

LINE = b'{"task": "a", "prompt": "Hi"}\n'

PEAK = """
import json, resource, sys
from spectui.prompts.reading import read
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
reading = read(sys.argv[1])
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([(after - before) // 1024, [problem.describe("x") for problem in reading.problems]]))
"""


def peak(path: str | Path) -> tuple[int, list[str]]:
    """MiB that reading takes, and the problems there were, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", PEAK, path],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=120,
        check=True,
    )
    memory, problems = json.loads(done.stdout)
    return memory, problems


@pytest.mark.parametrize(
    ("piece", "times", "message"),
    [
        (b"\0" * 1_000_000, 100, "it holds NUL bytes"),
        (b"x" * 1_000_000, 100, "this line is longer than 16 MiB"),
        (b'{"task": "a", "prompt": "' + b"x" * 3_000_000 + b'"}\n', 50, "take more than 128 MiB"),
    ],
    ids=("zeros", "one line", "long prompts"),
)
def test_a_small_packed_file_takes_little_memory(
    tmp_path: Path, piece: bytes, times: int, message: str
) -> None:
    path = tmp_path / "small.gz"
    with gzip.open(path, "wb") as file:
        for _ in range(times):
            file.write(piece)
    assert path.stat().st_size < 400_000
    memory, (problem,) = peak(path)
    assert message in problem
    assert memory < 250


def test_a_device_without_end_is_left_at_once() -> None:
    memory, (problem,) = peak("/dev/zero")
    assert "NUL bytes" in problem
    assert memory < 50


@pytest.mark.parametrize(
    ("limit", "value", "lines", "message"),
    [
        ("MAX_PROMPTS", 100, LINE, ":101: more than 100 prompts; take fewer, with --per-task N"),
        ("MAX_RECORDS", 100, b"{}\n", ":101: more than 100 records"),
        ("MAX_TEXT", 5000, LINE, "its prompts take more than"),
        ("MAX_LINES", 100, b"\n", "more than 100 lines"),
        ("MAX_BYTES", 100_000, LINE, "of text; give a smaller part"),
        ("MAX_TASKS", 9, b"", "more than 9 tasks; put all under one"),
    ],
)
def test_a_pipe_without_end_stops_at_the_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int, lines: bytes, message: str
) -> None:
    monkeypatch.setattr(reading if hasattr(reading, limit) else source, limit, value)
    path = tmp_path / "pipe"
    os.mkfifo(path)

    def endless() -> Iterator[bytes]:
        number = 0
        while True:
            number += 1
            yield lines or b'{"category": "c%d", "text": "x"}\n' % number

    def feed() -> None:
        try:
            with path.open("wb") as pipe:
                for part in endless():
                    pipe.write(part)
        except BrokenPipeError:
            pass

    writer = threading.Thread(target=feed, daemon=True)
    writer.start()
    result = read(path)
    writer.join(30)
    assert not writer.is_alive()  # it heard that nobody reads
    assert result.fatal is not None
    assert message in result.fatal.describe(result.name)


def test_only_what_is_asked_for_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A file of a million conversations gives ten of them."""
    monkeypatch.setattr(reading, "MAX_PROMPTS", 5)
    path = tmp_path / "x"
    path.write_bytes(LINE * 50 + b'{"task": "b", "prompt": "Ho"}\n')
    assert [prompt.task for prompt in read(path, per_task=3).prompts] == ["a", "a", "a", "b"]
    assert [prompt.text for prompt in read(path, only=["b"]).prompts] == ["Ho"]
    assert read(path).fatal is not None


def test_a_pipe_is_read_once_and_in_pieces(tmp_path: Path) -> None:
    """A writer that says a few bytes at a time, and a file that can be read only once."""
    wanted = [f"{i} Äpfel" for i in range(200)]
    whole = "".join(json.dumps({"prompt": text}, ensure_ascii=False) + "\n" for text in wanted).encode()
    for content in (whole, json.dumps([{"prompt": text} for text in wanted], ensure_ascii=False).encode()):
        read_end, write_end = os.pipe()

        def feed(write_end: int = write_end, content: bytes = content) -> None:
            for start in range(0, len(content), 7):
                os.write(write_end, content[start : start + 7])
            os.close(write_end)

        writer = threading.Thread(target=feed)
        writer.start()
        assert [prompt.text for prompt in load(f"/dev/fd/{read_end}")] == wanted
        writer.join()
        os.close(read_end)


def test_problems_beyond_a_thousand_are_counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(reading, "MAX_PROBLEMS", 10)
    path = tmp_path / "x"
    path.write_bytes(b"{\n" * 25)
    result = read(path)
    assert (len(result.problems), result.more_problems) == (10, 15)
