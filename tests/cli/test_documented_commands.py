"""Every command line of README and docs, as it stands there, with small models in place of large ones.

Protects: what people copy from the documents works. A command that is added to them is tried without being added
here; one that cannot be run is read by its parser, so that no option is named that does not exist, and stands in
`NOT_RUN` with the reason. Workers are real ones, forked (`tests.decoding.worker.workers`).
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
import torch
from click.testing import CliRunner, Result

from spectui.decoding.eagle.checkpoint import save_head
from spectui.decoding.worker import launch
from spectui.store.reading.reader import Reader
from spectui.tui.cli import main
from spectui.tui.cli.options import State
from tests.decoding.worker.workers import CONTEXT as PROCESSES
from tests.decoding.worker.workers import end_forked, forked
from tests.docs.documents import GUIDES, ROOT, blocks, prose
from tests.heads import tiny_head
from tests.models import tiny_llama, tiny_tokenizer
from tests.servers.recorded_vllm import RecordedVllm
from tests.servers.scripted import ScriptedServer
from tests.waiting import until

PROGRAMS = ("spectui", "make", "python", "pip", "pipx", "uv", "pytest", "git")

NOT_RUN = {
    "spectui": "opens the dashboard, which tests/tui looks at",
    "spectui --db FILE": "opens the dashboard, which tests/tui looks at",
    "spectui audit": "asks a server; tests/servers/test_audit.py runs it",
    "spectui watch": "asks servers until it is left; tests/cli/test_watch.py runs it",
    "spectui run --server": "asks a server; tests/servers runs it",
    "spectui run --replicas": "starts processes that import torch; tests/decoding/replicas runs them",
    "spectui run --resume last --replicas": "the same",
    "spectui run --ray": "joins a cluster; tests/decoding/replicas/test_ray.py starts one",
    "spectui bench": "minutes; tests/decoding/test_bench*.py run its parts on tiny models",
    "spectui distill": "hours; tests/decoding/test_distill*.py train tiny heads",
    "spectui doctor": "imports every backend in a child, for seconds; tests/cli/test_doctor.py runs it",
    "spectui run --target MODEL --draft mtp": "takes a target with an MTP module; tests/decoding/mtp has some",
    "spectui models ls DIR": "loads torch in a child, for seconds; tests/cli/test_models_command.py runs it",
    "spectui models check": "loads torch in a child, for seconds; tests/cli/test_models_command.py runs it",
}
"""Commands, with what has to follow them, that are only parsed, and why; a file's name stands for any."""

MODELS = {
    "eagle": "head", "MODEL": "target", "DIR": "target", "D": "draft", "DRAFT": "draft", "DIR2": "draft",
    "DIR/head": "head",
    "TheBloke/Llama-2-7B-Chat-GPTQ": "target", "TinyLlama/TinyLlama-1.1B-Chat-v1.0": "draft",
    "meta-llama/Llama-3.1-8B-Instruct": "target", "yuhuili/EAGLE3-LLaMA3.1-Instruct-8B": "head",
    "Qwen/Qwen3-8B": "target", "Qwen/Qwen3-0.6B": "draft",
}  # fmt: skip
"""Name of a model in the documents -> the small one that takes its place."""

SERVERS = ("http://127.0.0.1:8000", "http://127.0.0.1:8001", "URL")
"""Addresses in the documents; one that answers as vLLM was recorded to takes their place."""

SETTINGS = """
[run]
target = "{target}"
draft = "{draft}"
per_task = 1
max_new_tokens = 4
"""
"""The user's own defaults: small numbers, and models in place of the embedded ones."""

SWEEP = """
drafters = ["lookup"]
trees = ["chain:2", "chain:3"]
tasks = ["code"]
"""

FILES = {
    "night.toml": SWEEP,
    "FILE": '{"task": "rag", "prompt": "One two"}\n{"task": "chat", "prompt": "Three"}\n',
    "mine.jsonl": '{"task": "rag", "prompt": "One two"}\n',
}
"""Files of the working folder."""


def _unfinished(invoke: Callable[..., Result]) -> None:
    assert invoke("run", "--max-tokens", "12").exit_code == 0  # of sixteen


def _at_work(invoke: Callable[..., Result]) -> None:
    assert invoke("run", "--detach", "--max-new-tokens", "1000", "--per-task", "50").exit_code == 0


def _budget(invoke: Callable[..., Result]) -> None:
    assert invoke("advise", "last", "--save", "trees.json").exit_code == 0


def _no_file(_: Callable[..., Result]) -> None:
    Path("FILE").unlink()


def _shards(invoke: Callable[..., Result]) -> None:
    for number in (1, 2, 3):
        done = invoke(*f"run --tree full:3x2 --per-task 3 --shard {number}/3 --db {number}.db".split())
        assert done.exit_code == 0, done.output


def _swept(invoke: Callable[..., Result]) -> None:
    assert invoke("sweep", "night.toml").exit_code == 0


def _no_settings(_: Callable[..., Result]) -> None:
    Path("config.toml").unlink()


BEFORE: dict[str, Callable[[Callable[..., Result]], None]] = {
    "spectui run --resume last": _unfinished,
    "spectui sessions stop last": _at_work,
    "spectui run --tree auto:trees.json": _budget,
    "spectui sessions backup FILE": _no_file,
    "spectui advise --save FILE": _no_file,
    "spectui config init": _no_settings,
    "spectui compare --sweep night": _swept,
    "spectui sessions merge whole.db 1.db 2.db 3.db": _shards,
}
"""Steps that a command needs to have been done before."""


def documented() -> list[tuple[str, bool]]:
    """Command lines of the documents, each once, and whether it stands in a block rather than in a sentence."""
    in_blocks: set[str] = set()
    in_sentences: set[str] = set()
    for document in GUIDES:
        for block in blocks(document):
            if block.language == "":
                # Two spaces part a command from what is said about it.
                commands = [re.split(r"\s{2,}", line)[0] for line in block.text.splitlines()]
                unknown = [each for each in commands if each and each.split()[0] not in PROGRAMS]
                assert not unknown, f"{block.name} has lines that are no command: {unknown}"
                in_blocks |= {each for each in commands if each}
        for quoted in re.findall("`([^`]+)`", prose(document)):
            command = " ".join(quoted.split())
            if command.split(" ")[0] in PROGRAMS:
                in_sentences.add(command)
    return [(each, True) for each in sorted(in_blocks)] + [
        (each, False) for each in sorted(in_sentences - in_blocks)
    ]


COMMANDS = documented()
OURS = [(command, in_block) for command, in_block in COMMANDS if command.split()[0] == "spectui"]


def _not_run(command: str) -> bool:
    plain = re.sub(r"\S+\.db$", "FILE", command)
    return plain in NOT_RUN or any(plain.startswith(f"{start} ") for start in NOT_RUN if start != "spectui")


def test_the_documents_have_commands_and_every_exception_is_one_of_them() -> None:
    assert len(OURS) > 40
    names = [re.sub(r"\S+\.db$", "FILE", command) for command, _ in OURS]
    for exception in NOT_RUN:
        assert any(f"{name} ".startswith(f"{exception} ") for name in names), exception


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A target, a draft and a head."""
    folder = tmp_path_factory.mktemp("documented")
    target = tiny_llama(folder / "target", layers=3, context=4096)
    tiny_llama(folder / "draft", layers=1, context=4096, seed=1, tokenizer=tiny_tokenizer())
    save_head(tiny_head(target), folder / "head", target_name="tiny", dtype=torch.float32)
    return folder


@pytest.fixture(scope="module")
def recorded(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with the sessions that the documents speak of, and settings beside it."""
    folder = tmp_path_factory.mktemp("recorded")
    (folder / "config.toml").write_text(
        SETTINGS.format(target=small / "target", draft=small / "draft"), encoding="utf-8"
    )
    # What workers are forked from imports for seconds at first, and a session that nobody takes counts as interrupted.
    first = PROCESSES.Process(target=os.getpid)
    first.start()
    first.join()
    with pytest.MonkeyPatch.context() as patch:
        invoke = _runner(patch, folder)
        for name in ("friday", "monday"):
            done = invoke("run", "--name", name, "--per-task", "3", "--max-new-tokens", "8")
            assert done.exit_code == 0, done.output
    return folder


@pytest.fixture
def invoke(
    recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Result]]:
    """Run command lines beside those sessions; nothing is at work afterwards."""
    for file in recorded.iterdir():
        if file.is_file():
            shutil.copy(file, tmp_path / file.name)
    for name, content in FILES.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    yield _runner(monkeypatch, tmp_path)
    end_forked()


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(RecordedVllm("eagle3").routes) as scripted:
        yield scripted


def _runner(patch: pytest.MonkeyPatch, folder: Path) -> Callable[..., Result]:
    patch.chdir(folder)
    patch.setenv("SPECTUI_DB", str(folder / "spectui.db"))
    patch.setenv("SPECTUI_LOGS", str(folder / "logs"))
    patch.setenv("SPECTUI_CONFIG", str(folder / "config.toml"))
    patch.setenv("SPECTUI_CACHE", str(folder / "cache"))
    patch.setattr(launch, "start", forked)
    return lambda *arguments: CliRunner().invoke(main, list(arguments))


@pytest.mark.parametrize("command", [c for c, _ in OURS if not _not_run(c)])
def test_it_runs(
    command: str, invoke: Callable[..., Result], small: Path, tmp_path: Path, server: ScriptedServer
) -> None:
    in_block = dict(OURS)[command]
    words = [str(small / MODELS[word]) if word in MODELS else word for word in shlex.split(command)[1:]]
    if "--server" in words:
        words = [server.address if word in SERVERS else word for word in words]
        words += ["--max-new-tokens", "64"]  # as many as the recorded answers have
    if not in_block and not _complete(words):
        return  # a sentence that speaks of the command, which `_complete` has found to exist
    if "--db" in words:
        shutil.copy("spectui.db", words[words.index("--db") + 1])
    if command in BEFORE:
        BEFORE[command](invoke)
    if "--name" in words:  # one of the recorded sessions has it
        name = words[words.index("--name") + 1]
        assert invoke("sessions", "rename", name, f"{name}-before").exit_code == 0
    if "--shard" in words:  # of more prompts than the settings leave
        words += ["--per-task", "3"]
    if "--study" in words:  # its size cannot be changed, but it can be ended
        words += ["--max-tokens", "20", "--target", str(small / "target"), "--draft", str(small / "draft")]
    done = invoke(*words)
    assert done.exit_code == 0, f"{done.output}\n{_logs(tmp_path)}"
    assert "Traceback" not in done.output
    with Reader(tmp_path / "spectui.db") as reader:
        if "--detach" in words:
            until(lambda: not reader.session("last").live)
        last = reader.session("last")
        if words[0] == "run":
            assert last.status == ("stopped" if "--study" in words else "finished"), last.error
            assert last.rounds > 0
            assert [g.error for g in reader.generations(last.id) if g.error] == []
            assert {event.kind for event in reader.events(last.id)} <= {
                "limit",
                "resumed",
                "repetition",
                "server",
            }
        if "stop" in words:
            until(lambda: reader.session("last").status == "stopped")


def _logs(folder: Path) -> str:
    return (
        "\n".join(log.read_text() for log in (folder / "logs").glob("*"))
        if (folder / "logs").is_dir()
        else ""
    )


@pytest.mark.parametrize("command", [c for c, _ in OURS if _not_run(c)])
def test_it_is_read(command: str) -> None:
    """By the parser of the command: it exists, and so does every option."""
    words = shlex.split(command)[1:]
    if words[:1] == ["bench"]:
        from spectui.decoding.bench.__main__ import parser

        parser().parse_args(words[1:])
    elif words[:1] == ["distill"]:
        from spectui.decoding.distill.__main__ import parser

        parser().parse_args(words[1:])
    else:
        assert _complete(words)


def _complete(words: list[str]) -> bool:
    """True when nothing is missing. Raises `click.UsageError` for a command or an option that does not exist."""
    command: click.Command = main
    context = click.Context(main, info_name="spectui", obj=State())
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        _, child, words = command.resolve_command(context, list(words))
        assert child is not None
        command, context = child, click.Context(child, parent=context, info_name=child.name)
    try:
        command.parse_args(context, list(words))
    except click.MissingParameter:
        return False
    except click.exceptions.Exit:  # --help
        return True
    return True


@pytest.mark.parametrize("command", [c for c, _ in COMMANDS if not c.startswith("spectui")])
def test_what_it_names_exists(command: str) -> None:
    """Targets of make, modules of python, extras of pip: they are there; running them is for hands and for CI."""
    program, *words = shlex.split(command)
    if program == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        assert set(words) <= set(targets)
    elif program == "python":
        assert words[0] == "-m"
        place = ROOT.joinpath(*words[1].removeprefix("spectui.").split("."))
        module = place / "__main__.py" if place.is_dir() else place.with_suffix(".py")
        assert module.is_file()
        text = module.read_text(encoding="utf-8")
        for option in (word for word in words if word.startswith("--")):
            assert f'"{option}"' in text, option
    elif program in ("pipx", "uv"):
        assert words[-1] in (".", "install")  # the clone, or a sentence that speaks of the command
    elif program in ("pytest", "git"):
        assert all((ROOT / word).exists() for word in words if "/" in word)
    else:
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        for extra in re.findall(r"(?:spectui|\.)\[([\w-]+)\]", command):
            assert extra in extras
