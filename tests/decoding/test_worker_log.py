"""Protects: a worker's log stays small and private, and nothing written to stderr is lost."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

WRITES = """
import logging, os, sys
from decoding.worker_log import WorkerLog
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
