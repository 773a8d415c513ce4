"""Protects the promise that whatever goes wrong is one line on stderr, an exit code, and nothing else."""

from __future__ import annotations

import os
import pwd
import sqlite3
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from spectui.decoding.errors import DecodingError, UsageError
from spectui.prompts import PromptError
from spectui.store.database import connect
from spectui.store.errors import StoreError
from spectui.tui.cli import main
from spectui.tui.cli.commands.doctor import install_command
from tests.cli.conftest import SPECTUI, Invoke


def one_line(result: Result, code: int) -> str:
    """The error line, after checking that there is just that."""
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("spectui: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["bogus"], "No such command 'bogus'"),
        (["run", "--bogus"], "--bogus"),
        (["run", "--depth", "x"], "'x' is not a valid integer"),
        (["run", "--depth", "0"], "depth must be between 1 and"),
        (["run", "--branching", "99"], "branching must be between 1 and"),
        (["run", "--depth", "9", "--branching", "9"], "more than 512 nodes"),
        (["run", "--tree", "bush:4"], "tree 'bush:4' is not understood"),
        (["run", "--tree", "none.json"], "none.json"),
        (["run", "--tree", "chain:2", "--depth", "3"], "either --tree, or --depth"),
        (["run", "--temperature", "-1"], "--temperature"),
        (["run", "--temperature", "nan"], "--temperature"),
        (["run", "--top-p", "0"], "--top-p"),
        (["run", "--seed", "-3"], "--seed"),
        (["run", "--max-new-tokens", "0"], "--max-new-tokens"),
        (["run", "--device", "tpu"], "--device"),
        (["run", "--dtype", "int4"], "--dtype"),
        (["run", "--target", ""], "--target"),
        # A variable of the shell that is not set is no run on models here, nor one without a key or a cluster.
        *(
            (["run", flag, ""], f"'{flag}': it is empty")
            for flag in ("--server", "--draft", "--shard", "--ray")
        ),
        (["run", "--server", "http://h", "--api-key-env", ""], "'--api-key-env': it is empty"),
        (["audit", "--server", "http://h", "--tolerance", "nan"], "'nan' is no number"),
        (["audit", "--server", "http://h", "--against", "h/"], "--against is the server that is audited"),
        (["watch", "http://h", "--keep", "nan"], "'nan' is no number"),
        (["report", "--price", "inf"], "'inf' is no number"),
        (["run", "--target", "./nowhere"], "--target: there is no folder ./nowhere"),
        (["run", "--draft", "/"], "--draft: / is no model folder"),
        (["run", "--tasks", "poetry"], "no bundled task 'poetry'"),
        (["run", "--tasks", " ,"], "--tasks names no task"),
        (["run", "--per-task", "0"], "--per-task is 0"),
        (["run", "--prompts", "/nowhere.jsonl"], "/nowhere.jsonl: no such file"),
        (["prompts", "ls", "poetry"], "no bundled task 'poetry'"),
        (["attach"], "database"),
        (["attach", "friday"], "database"),
        (["sessions", "show"], "database"),
        (["sessions", "ls", "--db", "/nowhere/x.db"], "/nowhere/x.db"),
        ([], "needs a terminal"),
    ],
)
def test_bad_usage_and_input_leave_one_line_exit_2_and_no_database(
    invoke: Invoke, database: Path, arguments: list[str], said: str
) -> None:
    assert said in one_line(invoke(*arguments), 2)
    assert not database.parent.exists()


def test_a_bad_prompt_file_is_refused_before_anything_is_created(
    invoke: Invoke, database: Path, tmp_path: Path
) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text('{"task": "a", "prompt": "x"}\n{"task": "a"}\n')
    assert (
        one_line(invoke("run", "--prompts", path), 2)
        == f"spectui: {path}:2: 'prompt' is missing; its keys are 'task'\n"
    )
    assert not database.parent.exists()


def test_a_task_the_file_does_not_have_is_refused(invoke: Invoke, prompt_file: Path) -> None:
    line = one_line(invoke("run", "--prompts", prompt_file, "--tasks", "rag,code"), 2)
    assert "no task 'code'; it has rag, translation" in line


@pytest.mark.parametrize("content", [b"", b"not a database at all, but long enough to look at" * 10])
def test_a_file_that_is_not_ours_is_refused_and_left_alone(
    invoke: Invoke, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "theirs.db"
    if content:
        path.write_bytes(content)
    else:
        with sqlite3.connect(path) as db:
            db.execute("CREATE TABLE theirs (x)")
        db.close()
    before = path.read_bytes()
    for arguments in (["sessions", "ls"], ["run"], ["attach"], ["sessions", "rename", "1", "x"]):
        one_line(invoke(*arguments, "--db", path), 2)
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["theirs.db"]


def test_the_debug_option_adds_the_traceback_wherever_it_stands(invoke: Invoke) -> None:
    for arguments in (["--debug", "prompts", "ls", "x"], ["prompts", "ls", "x", "--debug"]):
        result = invoke(*arguments)
        assert result.exit_code == 2
        assert result.stderr.startswith("Traceback")
        assert result.stderr.splitlines()[-1].startswith("spectui: there is no bundled task")


@pytest.fixture
def raising() -> Iterator[list[BaseException]]:
    """The errors that the command `fail` raises; it exists only meanwhile."""
    errors: list[BaseException] = []

    @click.command()
    def fail() -> None:
        raise errors[0]

    main.add_command(fail)
    yield errors
    del main.commands["fail"]


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UsageError("asked wrongly"), 2, "asked wrongly"),
        (DecodingError("went wrong"), 1, "went wrong"),
        (PromptError("bad line"), 2, "bad line"),
        (StoreError("not ours"), 2, "not ours"),
        (sqlite3.OperationalError("database or disk is full"), 1, "database {}: database or disk is full"),
        (OSError(28, "No space left on device", "/x"), 1, "/x: No space left on device"),
        (OSError("odd"), 1, "odd"),
        (ValueError("two\nlines \x1b[31m"), 1, "ValueError: two↵lines ␛[31m; --debug shows where"),
        (KeyboardInterrupt(), 1, "interrupted"),
    ],
)
def test_every_kind_of_error_has_its_line_and_code(
    raising: list[BaseException], database: Path, error: BaseException, code: int, said: str
) -> None:
    raising.append(error)
    assert one_line(CliRunner().invoke(main, ["fail"]), code) == f"spectui: {said.format(database)}\n"


def test_a_reader_that_has_had_enough_is_no_error() -> None:
    # As in `spectui prompts ls --json | head -1`; the pipe holds less than the output.
    command = f"set -o pipefail; {SPECTUI} prompts ls --json | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.stdout == "[\n"
    assert done.stderr == ""
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("words", "streams", "code", "said"),
    [
        ("--help", ">/dev/full", 1, f"spectui: {os.strerror(28)}\n"),
        ("--version", ">/dev/full", 1, f"spectui: {os.strerror(28)}\n"),
        ("prompts ls --json", ">/dev/full", 1, f"spectui: {os.strerror(28)}\n"),
        ("prompts ls x", "2>/dev/full", 2, ""),
        ("prompts ls --json", ">&-", 0, ""),
        ("prompts ls x", "2>&-", 2, ""),
        ("prompts ls x", "<&- >&- 2>&-", 2, ""),
        ("", "<&- >&-", 2, "spectui: the dashboard needs a terminal; here, try: spectui sessions ls\n"),
        ("run --help", "2>&1 | head -1", 0, ""),
    ],
)
def test_standard_streams_that_are_full_or_closed_cost_one_line_at_most(
    words: str, streams: str, code: int, said: str
) -> None:
    command = f"set -o pipefail; {SPECTUI} {words} {streams}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (code, said)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("config", "path"), 2, "no home folder to keep config in; set HOME, or SPECTUI_CONFIG"),
        (("sessions", "ls"), 2, "no home folder to keep data in; set HOME, or --db"),
        (("models", "ls"), 1, "no home folder to keep cache in; set HOME, or SPECTUI_CACHE"),
        (
            ("--db", "{sound}", "run", "--target", "~nobody-of-that-name/m"),
            2,
            "there is no folder ~nobody-of-that-name/m",
        ),
        (("sessions", "export", "--out", "~nobody-of-that-name/x"), 2, "no database at"),
        (("--db", "{sound}", "sessions", "ls"), 0, ""),
        (("--db", "{sound}", "report", "--help"), 0, ""),
    ],
)
def test_without_a_home_a_command_works_or_says_so_in_one_line(
    invoke: Invoke,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    words: tuple[str, ...],
    code: int,
    said: str,
) -> None:
    """As in a container or a service whose user is not among the system's."""
    sound = tmp_path / "sound.db"
    connect(sound).close()
    for name in ("HOME", "SPECTUI_LOGS", "SPECTUI_CACHE", "SPECTUI_CONFIG", "SPECTUI_STATE"):
        monkeypatch.delenv(name, raising=False)
    if "export" not in words:
        monkeypatch.delenv("SPECTUI_DB")
    for name in ("CACHE", "CONFIG", "DATA", "STATE"):
        monkeypatch.delenv(f"XDG_{name}_HOME", raising=False)

    def nobody(_: object) -> None:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    result = invoke(*(word.format(sound=sound) for word in words))
    assert result.exit_code == code, result.output
    assert said in result.stderr
    assert result.stderr.count("\n") == bool(code)
    assert "Error" not in result.stderr


def test_doctor_says_how_to_install_again_what_was_installed_so(tmp_path: Path) -> None:
    assert install_command() == "make install"
    assert install_command(tmp_path).endswith("-m pip install --force-reinstall spectui")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_behind_stdout_is_one_line() -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        done = subprocess.run(
            [SPECTUI, "prompts", "ls"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 1
    assert done.stderr == f"spectui: {os.strerror(28)}\n"


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["report", "--csv"], "spectui report"),
        (["sessions", "ls", "--json=yes"], "spectui sessions ls"),
        (["--db"], "spectui"),
    ],
)
def test_an_option_without_its_value_names_the_help_of_its_command(
    arguments: list[str], command: str, invoke: Invoke
) -> None:
    assert one_line(invoke(*arguments), 2).endswith(f" (see: {command} --help)\n")


def test_ctrl_c_while_the_program_is_loaded_is_one_line() -> None:
    root = Path(__file__).parents[2]
    program = tomllib.loads((root / "pyproject.toml").read_text())["project"]["scripts"]["spectui"]
    module, _, function = program.partition(":")
    interrupted = (
        "import sys\n"
        "class Interrupt:\n"
        "    def find_spec(name, path, target=None):\n"
        "        if name == 'spectui.tui.cli.commands.run':\n"
        "            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupt)\n"
        f"from {module} import {function}\n"
        f"sys.exit({function}())"
    )
    done = subprocess.run([sys.executable, "-c", interrupted], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "spectui: interrupted\n")
