"""Workers that start at once: real processes, forked from a server that has imported torch already."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import resource
import signal
import sqlite3
import sys
from collections.abc import Mapping
from contextlib import closing
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil

from spectui.decoding.config import RunConfig
from spectui.decoding.worker.launch import ENGINE, SERVERS
from spectui.decoding.worker.run_writer import RunWriter
from spectui.store.care.check import check
from spectui.store.database import connect
from spectui.store.reading.reader import Reader
from spectui.store.records import PromptRecord
from spectui.store.rows import SessionSummary
from spectui.store.sessions import create_session, send_command
from tests.waiting import until

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        # By the names that an installed spectui has: a test that is the first to need a worker may have left the folder
        # that `tests` is imported from, and what is not imported before takes each worker four seconds.
        "spectui.decoding.worker.process",
        "spectui.decoding.worker.prompt_runner",
        "spectui.decoding.worker.choose_tree",
        "tests.models",
    ]
)

TEXTS = [
    ("code", "Write a function."),
    ("logic", "Tom is a cat."),
    ("math", "9:40 plus 2 hours"),
    ("rag", "日本語"),
]


def make_model(folder: Path, *, broken: bool = False, endless: bool = False) -> None:
    """A tiny random Llama with its tokenizer, made elsewhere so that the tests need no torch themselves.

    `broken` has a weight that is no number; `endless` knows no end token, so that outputs end by their length.
    """
    process = CONTEXT.Process(target=_make_model, args=(folder, broken, endless))
    process.start()
    process.join()
    assert process.exitcode == 0


def _make_model(folder: Path, broken: bool, endless: bool) -> None:
    import torch

    from tests.models import tiny_llama, tiny_tokenizer

    model = tiny_llama(context=4096)
    if broken:
        with torch.no_grad():
            model.lm_head.weight[7] = float("nan")
    tokenizer = tiny_tokenizer()
    if endless:
        model.config.eos_token_id = model.generation_config.eos_token_id = tokenizer.eos_token = None
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _work(arguments: list[str], log: Path, environment: Mapping[str, str], stop_after: int | None) -> None:
    set_apart(log)
    if stop_after is not None:
        _send_stop(Path(arguments[1]), int(arguments[3]), stop_after)
    sys.exit(run_worker(arguments, environment))


def _send_stop(database: Path, session_id: int, rounds: int) -> None:
    """A stop command that arrives when so many rounds have been written, however fast they are."""
    from spectui.decoding.worker.control import Control

    listen, heard = Control.listen, itertools.count(1)

    def send_and_listen(self: Control, writer: RunWriter) -> None:
        if next(heard) == rounds:
            connection = connect(database)
            send_command(connection, session_id, "stop")
            connection.close()
        listen(self, writer)

    Control.listen = send_and_listen  # type: ignore[method-assign]


def set_apart(log: Path) -> None:
    """Make this process what a worker is: a session of its own, whose stderr is its log."""
    os.setsid()
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(descriptor, 2)
    sys.stderr = os.fdopen(2, "w", buffering=1)


def run_worker(arguments: list[str], environment: Mapping[str, str], module: str = ENGINE) -> int:
    """Be the worker of that module, in a process that is set apart; its exit code."""
    import torch

    from spectui.decoding.worker.__main__ import decode
    from spectui.decoding.worker.process import main
    from spectui.servers.worker.__main__ import ask

    os.environ.update(environment)
    if "--replicas" in arguments:
        from spectui.decoding.replicas.__main__ import worker

        return worker(arguments)
    torch.set_num_threads(1)
    sys.argv = ["spectui worker", *arguments]
    return main(ask if module == SERVERS else decode)


class Forked:
    """The part of a worker that `decoding.worker.launch` uses."""

    def __init__(self, module: str, arguments: list[str], log: Path) -> None:
        self._process = CONTEXT.Process(target=_be_launched, args=(module, arguments, log, dict(os.environ)))
        self._process.start()
        _forked.append(self._process)
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    def wait(self) -> None:
        """Left to `end_forked`."""

    def kill(self) -> None:
        """Kill it, and wait for its end."""
        self._process.kill()
        self._process.join()


_forked: list[BaseProcess] = []


def forked(command: list[str], **_: object) -> Forked:
    """In place of `launch.start`: the worker of such a command line."""
    module, *arguments = command[command.index("-m") + 1 :]
    return Forked(module, arguments, Path(arguments[arguments.index("--log") + 1]))


def end_forked() -> None:
    """Leave none of them."""
    for worker in _forked:
        worker.kill()
        worker.join()
    _forked.clear()


def _be_launched(module: str, arguments: list[str], log: Path, environment: dict[str, str]) -> None:
    set_apart(log)
    raise SystemExit(run_worker(arguments, environment, module))


class Worked:
    """A session of a database and the workers that were started for it, one after the other."""

    def __init__(self, folder: Path, model: Path, name: str = "test", **config: object) -> None:
        defaults = {"target": str(model), "max_new_tokens": 24, "draft": "recycling", "tree": "recycling:8"}
        defaults["raw"] = False  # a configuration without it is of before
        self.config = RunConfig.from_dict({**defaults, **config})
        self.database = folder / "runs.db"
        self.log = folder / f"{name}.log"
        self.process: BaseProcess | None = None
        self._db = connect(self.database)
        self.id = create_session(
            self._db, name=name, config_json=self.config.to_json(), target="tiny", drafter="recycling",
            tree=self.config.tree_label,
            prompts=[PromptRecord(f"{task}-{i}", task, text) for i, (task, text) in enumerate(TEXTS)],
        )  # fmt: skip
        self.reader = Reader(self.database)

    def work(
        self, *, force: bool = False, stop_after: int | None = None, replicas: int = 0, **environment: str
    ) -> None:
        """Start a worker, to begin or to go on; a stop command comes when it has written `stop_after` rounds."""
        arguments = ["--db", str(self.database), "--session", str(self.id), *(["--force"] if force else [])]
        arguments += ["--replicas", str(replicas)] if replicas else []
        self.process = CONTEXT.Process(
            target=_work, args=(arguments, self.log, {"SPECTUI_MEASURE": "0", **environment}, stop_after)
        )
        self.process.start()
        until(lambda: self.now().pid == self.pid or not self.alive, what=self.log_text)

    @property
    def pid(self) -> int:
        assert self.process is not None
        assert self.process.pid is not None
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.is_alive()

    def now(self) -> SessionSummary:
        return self.reader.session(self.id)

    def log_text(self) -> str:
        """The workers' output on stderr."""
        return self.log.read_text() if self.log.exists() else ""

    def send(self, kind: str) -> None:
        send_command(self._db, self.id, kind)

    def until_rounds(self, count: int) -> None:
        until(
            lambda: self.now().rounds >= count or not self.alive,
            what=lambda: f"{self.now()} {self.log_text()}",
        )
        assert self.now().rounds >= count, self.log_text()

    def freeze(self, *, writing: bool) -> None:
        """Stop the worker by a signal, in the middle of a write to the database or between two."""
        with closing(connect(self.database, timeout=0.0)) as db:
            until(lambda: self._frozen(db, writing), what=self.log_text)

    def _frozen(self, db: sqlite3.Connection, writing: bool) -> bool:
        os.kill(self.pid, signal.SIGSTOP)
        until(lambda: psutil.Process(self.pid).status() == psutil.STATUS_STOPPED)
        try:
            db.execute("BEGIN IMMEDIATE")
            db.execute("ROLLBACK")
            locked = False
        except sqlite3.OperationalError:
            locked = True
        if locked != writing:
            os.kill(self.pid, signal.SIGCONT)
        return locked == writing

    def ended(self) -> int:
        """Wait for the worker; its exit code."""
        until(lambda: not self.alive, what=lambda: f"the end: {self.now()} {self.log_text()}")
        assert self.process is not None
        self.process.join()
        assert self.process.exitcode is not None
        return self.process.exitcode

    def kill(self) -> None:
        """Kill the worker, which must be at work."""
        assert self.killed_at_work()

    def killed_at_work(self) -> bool:
        """Kill the worker; False when it had just come to its end."""
        assert self.process is not None
        # Not by its pid, which is gone once the server that forked it has seen it end.
        self.process.kill()
        return self.ended() == -signal.SIGKILL

    def allow_files_of(self, size: int) -> None:
        """Let the worker write no file beyond so many bytes, as a full disk would."""
        _, hard = resource.prlimit(self.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (size, hard))

    def outputs(self) -> list[tuple[str, str | None, list[int]]]:
        """Status, reason and tokens of every prompt."""
        return [
            (g.status, g.finish_reason, [t for r in self.reader.rounds(g.id) for t in r.emitted])
            for g in self.reader.generations(self.id)
        ]

    def problems(self) -> list[str]:
        """Problems that a recount of the whole database finds."""
        return check(self._db)

    def close(self) -> None:
        """Leave nothing running and nothing open."""
        if self.process is not None and self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.reader.close()
        self._db.close()
