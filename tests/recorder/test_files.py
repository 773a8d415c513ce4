"""Protects: files for their owner alone, of bounded size, whole lines, and a disk's trouble stays the recorder's."""

from __future__ import annotations

import json
import logging
import os
import resource
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from spectui.recorder import files, sink
from spectui.recorder.__main__ import main
from spectui.recorder.files import Files
from spectui.recorder.settings import Settings
from spectui.recorder.sink import Sink
from tests.waiting import until

HEADER = b'["meta",{}]\n'
LINE = b'["step",' + b"1" * 91 + b"]\n"


def opened(folder: Path, **settings: Any) -> Files:
    return Files(replace(Settings(str(folder)), **settings), "engine", lambda start, part: HEADER)


def recorded(folder: Path) -> list[bytes]:
    return [
        line
        for file in sorted(folder.glob("*.jsonl"))
        for line in file.read_bytes().splitlines(keepends=True)
    ]


def test_only_the_owner_reads_them(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        assert opened(tmp_path / "new").write([LINE, LINE]) == 2
    finally:
        os.umask(before)
    (file,) = (tmp_path / "new").iterdir()
    assert files.NAME.fullmatch(file.name)
    assert (file.stat().st_mode & 0o777, (tmp_path / "new").stat().st_mode & 0o777) == (0o600, 0o700)
    assert recorded(tmp_path / "new") == [HEADER, LINE, LINE]


@pytest.mark.parametrize("others", [0, 3000])
def test_the_folder_never_holds_more_than_its_limit(tmp_path: Path, others: int) -> None:
    """Files of other processes count, other files do not."""
    (tmp_path / "1-1-worker.jsonl").write_bytes(b"x" * others)
    (tmp_path / "mine.txt").write_bytes(b"x" * 10_000)
    file = opened(tmp_path, max_mb=0.008)
    written = sum(file.write([LINE]) for _ in range(200))
    size = sum(path.stat().st_size for path in tmp_path.glob("*.jsonl"))
    assert 8000 * 14 / 16 - 200 < size <= 8000 * 15 / 16
    assert size == others + len(HEADER) + written * len(LINE)
    assert file.problem == f"{tmp_path} holds 0.008 MB"
    # The counts that say so still fit.
    assert file.write([LINE], counts=True) == 1


def test_the_oldest_are_deleted_where_new_ones_are_kept(tmp_path: Path) -> None:
    (tmp_path / "1-1-worker.jsonl").write_bytes(b"x" * 3000)
    os.utime(tmp_path / "1-1-worker.jsonl", (1, 1))
    (tmp_path / "mine.txt").write_bytes(b"x" * 10_000)
    (tmp_path / "2-2-worker.jsonl").symlink_to(tmp_path / "mine.txt")
    starts: list[tuple[int, int]] = []

    def header(start: int, part: int) -> bytes:
        starts.append((start, part))
        return HEADER

    file = Files(replace(Settings(str(tmp_path)), max_mb=0.016, keep="new"), "engine", header)
    lines = [b"[%d]" % number + b" " * 90 + b"\n" for number in range(1000)]
    assert [file.write([line]) for line in lines] == [1] * 1000
    kept = [line for line in recorded(tmp_path) if line != HEADER and not line.startswith(b"x")]
    assert kept == lines[-len(kept) :]
    assert 100 < len(kept) < 200
    assert not (tmp_path / "1-1-worker.jsonl").exists()
    assert (tmp_path / "mine.txt").stat().st_size == 10_000
    assert (tmp_path / "2-2-worker.jsonl").is_symlink()
    assert [part for _, part in starts] == list(range(len(starts)))
    assert len({start for start, _ in starts}) == 1


def test_a_file_that_another_process_removed_is_begun_anew(tmp_path: Path) -> None:
    """With "new" rows kept, a process at work makes room by the file of one that was idle, and writes again later."""
    idle, busy = opened(tmp_path, max_mb=0.016, keep="new"), opened(tmp_path, max_mb=0.016, keep="new")
    assert idle.write([LINE]) == 1
    (first,) = tmp_path.iterdir()
    os.utime(first, (1, 1))
    assert [busy.write([LINE]) for _ in range(300)] == [1] * 300
    assert not first.exists()
    assert idle.write([b'["step",2]\n']) == 1
    assert b'["step",2]\n' in recorded(tmp_path)


def test_a_line_that_fits_nowhere_costs_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "PATIENCE", 0)
    file = opened(tmp_path, max_mb=0.004, keep="new")
    (tmp_path / "1-1-worker.jsonl").write_bytes(b"")
    longer, as_long_as_the_limit = b"x" * 5000 + b"\n", b"x" * 3739 + b"\n"
    assert [file.write([line]) for line in (LINE, longer, LINE)] == [1, 0, 1]
    assert recorded(tmp_path) == [HEADER, LINE, LINE]
    assert (tmp_path / "1-1-worker.jsonl").exists()
    assert file.write([as_long_as_the_limit]) == 0
    assert recorded(tmp_path) == [HEADER, LINE, LINE]


def test_a_full_disk_cuts_a_line_and_nothing_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A limit of the system for files stands for a full disk: a part is written, then nothing, then there is room."""
    monkeypatch.setattr(files, "PATIENCE", 0)
    file = opened(tmp_path)
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (250, hard[1]))
    try:
        assert file.write([LINE, LINE, LINE]) == 2
        assert "only a part was taken" in file.problem
        assert file.write([LINE]) == 0
        assert "File too large" in file.problem
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, hard)
    assert file.write([LINE]) == 1
    assert file.problem == ""
    lines = recorded(tmp_path)
    assert lines[:3] == [HEADER, LINE, LINE]
    assert lines[-1] == LINE
    assert len(lines) == 5  # the cut one


def test_a_file_whose_first_line_does_not_fit_is_taken_back(tmp_path: Path) -> None:
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5, hard[1]))
    try:
        file = opened(tmp_path)
        assert file.write([LINE]) == 0
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, hard)
    assert list(tmp_path.iterdir()) == []


def begun(folder: Path, **settings: Any) -> tuple[Sink, Any]:
    recorder = Sink(
        replace(Settings(str(folder)), **settings), "engine", "vllm", logging.getLogger("vllm.spectui")
    )
    return recorder, recorder.part("commits")


def stats(folder: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in recorded(folder)]
    return [row[1] for row in rows if row[0] == "stat"]


def test_a_place_that_cannot_be_written_costs_rows_and_a_line_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder")
    recorder, part = begun(tmp_path / "file" / "below")
    recorder.begin({})
    for number in range(20):
        recorder.put(part, ["step", number])
    recorder.close()
    assert recorder._counts()["dropped"] == 20
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        f"spectui: cannot write into {tmp_path / 'file' / 'below'}: Not a directory; rows are dropped while that is so"
    ]


def test_more_than_may_wait_is_dropped_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sink, "POLL", 60)  # nothing is taken from the queue before the end
    recorder, part = begun(tmp_path, queue=2)
    recorder.begin({})
    for number in range(5):
        recorder.put(part, ["step", number])
    recorder.close()
    rows = [json.loads(line) for line in recorded(tmp_path)]
    assert [row[:2] for row in rows[1:3]] == [["step", 0], ["step", 1]]
    (stat,) = stats(tmp_path)
    assert (stat["rows"], stat["dropped"]) == (2, 3)


def test_counts_are_written_once_the_server_rests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process may be killed then: they do not wait for its end."""
    monkeypatch.setattr(sink, "QUIET", 0.1)
    recorder, part = begun(tmp_path)
    recorder.begin({"vllm": "0.33.0"})
    recorder.put(part, ["step", 1])
    recorder.put(part, lambda: 1 / 0)  # type: ignore[arg-type, return-value]
    until(lambda: bool(stats(tmp_path)))
    (stat,) = stats(tmp_path)
    assert (stat["rows"], stat["errors"], stat["error"]) == (1, 1, "ZeroDivisionError: division by zero")
    assert stat["times"]["writer"]["n"] == 2
    recorder.close()
    assert len(stats(tmp_path)) == 1  # nothing new to say


def test_a_forked_process_writes_a_file_of_its_own(tmp_path: Path) -> None:
    recorder, part = begun(tmp_path)
    recorder.begin({})
    recorder.put(part, ["step", "parent"])
    child = os.fork()
    if not child:
        recorder.begin({})
        recorder.put(part, ["step", "child"])
        recorder.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    recorder.close()
    written = {
        json.loads(file.read_text().splitlines()[0])[1]["pid"]: json.loads(file.read_text().splitlines()[1])
        for file in tmp_path.iterdir()
    }
    assert written == {os.getpid(): ["step", "parent"], child: ["step", "child"]}


def test_what_recorders_counted_is_read_of_their_files_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A pipe would be waited for, and what a file says may move a terminal's cursor."""

    def counted() -> tuple[int, str, str]:
        code = main()
        said = capsys.readouterr()
        return code, said.out, said.err

    monkeypatch.setattr(sys, "argv", ["spectui.recorder", str(tmp_path)])
    assert counted() == (1, "", f"{tmp_path} has no file of a recorder\n")
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "folder.jsonl").mkdir()
    meta = '["meta",{"role":"engine"}]\n'
    (tmp_path / "a.jsonl").write_text(meta + '["stat",{"error":"\\u001b[2J"}]\n')
    (tmp_path / "b.jsonl").write_text(meta + '["stat",{"times":{"commits":3}}]\n')
    code, out, _ = counted()
    assert (code, "last error:  [2J" in out, "\x1b" in out) == (0, True, False)
    assert "b.jsonl: what it has counted cannot be read" in out
