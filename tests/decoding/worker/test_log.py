"""Protects: a worker's log stays small and private, and nothing written to stderr is lost."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from spectui.decoding.worker.launch import log_path
from spectui.decoding.worker.log import last_words
from spectui.tui.cli.commands import doctor

WRITES = """
import logging, os, sys
from spectui.decoding.worker.log import WorkerLog
logging.basicConfig(level=logging.INFO, handlers=[WorkerLog(sys.argv[1], most=2000)])
for number in range(100):
    logging.getLogger("spectui.worker").warning("line %s \x1b[31m", number)
os.write(2, b"from a library\\n")
print("from print", flush=True)
raise RuntimeError("the end")
"""


def test_it_rotates_and_takes_stderr_along(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    done = subprocess.run(
        [sys.executable, "-c", WRITES.replace("\\\\", "\\"), str(path)], capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["run.log", "run.log.1"]
    for file in tmp_path.iterdir():
        assert file.stat().st_mode & 0o777 == 0o600
    last = path.read_text()
    assert "line 99" in last
    assert "from a library" in last
    assert "from print" in last
    assert "RuntimeError: the end" in last
    assert "line 0 " not in last
    assert (tmp_path / "run.log.1").stat().st_size <= 2000


def test_why_a_worker_ended_can_be_told(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    assert last_words(path) == ""
    path.write_text("x" * 9000 + "\n2026-11-30 01:45:27,270 spectui.worker the disk is full\n\n")
    assert last_words(path) == "the disk is full"
    path.write_text("Killed\n")
    assert last_words(path) == "Killed"


def test_databases_of_one_name_have_logs_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPECTUI_LOGS", str(tmp_path / "logs"))
    places = [tmp_path / folder / "study.db" for folder in ("mine", "yours")]
    for place in places:
        place.parent.mkdir()
        place.touch()
    logs = [log_path(place, 1) for place in places]
    assert len({log.name for log in logs}) == 2
    assert {log.parent for log in logs} == {tmp_path / "logs"}
    assert all(log.name.startswith("study-") and log.name.endswith("-1.log") for log in logs)
    # The same file by another way has the same log, and so has any name that a file can have.
    (tmp_path / "link.db").symlink_to(places[0])
    monkeypatch.chdir(tmp_path / "mine")
    assert log_path(tmp_path / "link.db", 1) == log_path(Path("study.db"), 1) == logs[0]
    assert len(log_path(tmp_path / ("n" * 250 + ".db"), 1).name) < 100


def test_doctor_counts_the_logs_of_before_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPECTUI_LOGS", str(tmp_path / "logs"))
    (tmp_path / "logs").mkdir()
    for name in ("study-1.log", "study-1.log.1", log_path(tmp_path / "study.db", 1).name):
        (tmp_path / "logs" / name).write_text("four")
    assert doctor._logs() == {"folder": str(tmp_path / "logs"), "files": 3, "bytes": 12}
