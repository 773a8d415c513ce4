"""Starting the processes of `tests.store.child`, and never leaving one behind."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]


@contextmanager
def child(what: str, path: Path) -> Iterator[subprocess.Popen[str]]:
    """A running child; killed at the end of the block when it still runs."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.store.child", what, str(path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def hear(process: subprocess.Popen[str], line: str) -> None:
    """Wait until the child says `line`; fails when it ends without."""
    assert process.stdout is not None
    for heard in process.stdout:
        if heard.strip() == line:
            return
    raise AssertionError(f"the child ended ({process.wait()}) without saying {line!r}")


def say(process: subprocess.Popen[str], line: str = "go") -> None:
    """Send the child a line."""
    assert process.stdin is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()


def fresh_python(code: str) -> str:
    """The output of `code` in a new interpreter."""
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.strip()
