"""Every command line test has a database, logs and a configuration of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner, Result

from spectui.decoding.worker import launch
from spectui.store.database import open_database
from spectui.store.reading.reader import Reader
from tests.decoding.worker.workers import end_forked, forked
from tests.models import tiny_llama

SPECTUI = Path(sys.executable).with_name("spectui")
"""The entry point as it was installed."""

Invoke = Callable[..., Result]
Popen = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of this test's default database, which does not exist yet."""
    path = tmp_path / "data" / "spectui.db"
    monkeypatch.setenv("SPECTUI_DB", str(path))
    monkeypatch.setenv("SPECTUI_LOGS", str(tmp_path / "logs"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # tiny models only lose time to a second thread
    return path


@pytest.fixture
def invoke(database: Path) -> Invoke:
    """Run a command line in this process."""

    def invoke(*arguments: str | Path) -> Result:
        from spectui.tui.cli import main

        return CliRunner().invoke(main, [str(argument) for argument in arguments])

    return invoke


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Commands run by `invoke` fork their workers, which saves each four seconds of imports."""
    monkeypatch.setattr(launch, "start", forked)
    yield
    end_forked()


@pytest.fixture
def spectui(database: Path) -> Iterator[Popen]:
    """Start the installed entry point; afterwards nothing of it or of its workers is left."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str | Path) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [SPECTUI, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "COLUMNS": "100"},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        with process:
            pass
    if database.exists():
        db = open_database(database, create=False)
        for (pid,) in db.execute(
            "SELECT pid FROM session WHERE pid IS NOT NULL AND ended_at IS NULL"
        ).fetchall():
            if pid != os.getpid() and psutil.pid_exists(pid):
                psutil.Process(pid).kill()
        db.close()


@pytest.fixture
def reader(database: Path) -> Iterator[Reader]:
    """Reads the test's database, which has to be there."""
    reader = Reader(database)
    yield reader
    reader.close()


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny random Llama."""
    folder = tmp_path_factory.mktemp("cli") / "tiny"
    tiny_llama(folder, context=4096)
    return folder


@pytest.fixture
def prompt_file(tmp_path: Path) -> Path:
    """Two tasks that are not among the bundled ones, three prompts."""
    path = tmp_path / "mine.jsonl"
    path.write_text(
        '{"task": "rag", "prompt": "One two three"}\n'
        '{"task": "rag", "prompt": "Four"}\n'
        '{"task": "translation", "prompt": "日本語"}\n',
        encoding="utf-8",
    )
    return path
