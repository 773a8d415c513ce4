"""Protects: every file is written whole or not at all, and nothing of the user's is written over unasked."""

from __future__ import annotations

import ast
import os
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from spectui.store.database import connect
from spectui.store.errors import StoreError
from spectui.store.files import files_below, new_file, remove_drafts, replacing, sizes, write_text
from spectui.tui.cli import main
from tests.cli.test_advise import session
from tests.sources import ROOT, calls, imported, resolved, trees

WRITERS = {
    "write_text", "write_bytes", "touch", "mkstemp", "mkdtemp", "NamedTemporaryFile", "TemporaryFile", "symlink_to",
    "hardlink_to", "rename", "renames", "copyfile", "copytree", "truncate", "save_pretrained", "save_file", "savetxt",
    "savez", "savez_compressed", "tofile", "to_csv", "to_json_file", "save_model", "FileHandler", "RotatingFileHandler",
    "TimedRotatingFileHandler", "ParquetWriter", "write_table", "mknod", "mkfifo",
}  # fmt: skip
"""Names of functions and methods, whatever they belong to."""
FULL_NAMES = (
    "torch.save", "json.dump", "pickle.dump", "numpy.save", "shutil.copy", "shutil.move", "os.replace", "os.link",
    "os.symlink",
)  # fmt: skip
NO_FILES = {
    "spectui.store.files.write_text",
    "spectui.decoding.distill.writers.write_text",
    "writers.write_text",
}
"""The way itself, and a namesake."""
DRAFT = "of a draft that `spectui.store.files` puts in its place"
FRESH = "in a fresh folder that gets its name when it is whole"
ALLOWED = {
    ("store/files.py", "*"): "the place",
    ("decoding/trees/plan_file.py", "save_plan"): DRAFT,
    ("decoding/distill/shards.py", "write"): DRAFT,
    ("decoding/distill/train.py", "_save"): DRAFT,
    ("decoding/eagle/checkpoint.py", "save_head"): DRAFT,
    ("store/export/aiperf.py", "write_records"): DRAFT,
    ("store/export/parquet.py", "ParquetFile.__init__"): DRAFT,
    ("store/export/parquet.py", "ParquetFile.write"): DRAFT,
    ("store/export/text.py", "TextFile.__init__"): DRAFT,
    ("tui/cli/commands/config.py", "init"): DRAFT,
    ("tui/cli/commands/prompts.py", "import_"): DRAFT,
    ("tui/report/files.py", "_write"): DRAFT,
    ("tui/report/files.py", "write_csv"): DRAFT,
    ("decoding/checkpoints/embedded.py", "_make"): FRESH,
    ("decoding/checkpoints/embedded.py", "ensure_gguf"): FRESH,
    ("decoding/checkpoints/embedded.py", "_staging"): FRESH,
    ("decoding/checkpoints/embedded.py", "_unpack"): FRESH,
    ("decoding/checkpoints/embedded.py", "remove"): FRESH,
    ("decoding/checkpoints/gguf.py", "convert"): FRESH,
    ("decoding/checkpoints/gguf.py", "_write_weights"): FRESH,
    ("decoding/checkpoints/embedded.py", "download"): FRESH,
    ("decoding/checkpoints/embedded.py", "_lock"): "a lock, which stays empty",
    ("decoding/distill/pipeline.py", "_only_one"): "a lock, which stays empty",
    ("decoding/distill/pipeline.py", "Log.__init__"): "a log of ours, appended to",
    ("decoding/worker/launch.py", "launch_worker"): "a log of ours, appended to",
    ("decoding/worker/log.py", "WorkerLog._open"): "a log of ours, appended to",
    ("decoding/replicas/child.py", "Server._answer"): "no file",
    ("decoding/replicas/pipes.py", "PipeLink.ask"): "no file",
    (
        "decoding/replicas/ray_engine.py",
        "_private_folder",
    ): "a fresh folder for Ray, removed when the run is over",
    ("store/database.py", "_create"): "the database, put in its place when it is whole",
    ("store/database.py", "_link"): "the database, put in its place when it is whole",
    ("tui/model/transcript.py", "Transcript.cut"): "no file",
    (
        "recorder/files.py",
        "Files._begin",
    ): "rows that are appended inside a server, without the store",
}


def _writes(tree: ast.Module) -> dict[str, list[str]]:
    """Function -> the calls in it that write a file, or make or replace one."""
    bound = imported(tree)
    by_function: dict[str, list[str]] = {}
    for where, name, call in calls(tree):
        full, last = resolved(name, bound), name.rpartition(".")[2]
        if full in NO_FILES or full.startswith(("click.", "copy.")):
            continue
        if (
            last in WRITERS
            or (full.startswith(FULL_NAMES) and full != "json.dumps")
            or (last in ("open", "fdopen", "ZipFile") and _for_writing(call, full))
            or (last == "replace" and len(call.args) == 1 and not call.keywords and "." in name)
        ):
            by_function.setdefault(where, []).append(full)
    return by_function


def _for_writing(call: ast.Call, full: str) -> bool:
    if full == "os.open":
        flags = {node.attr for node in ast.walk(call) if isinstance(node, ast.Attribute)}
        return "devnull" not in flags and bool(flags & {"O_WRONLY", "O_RDWR", "O_CREAT", "O_APPEND"})
    arguments = [*call.args[0 if "." in full and not full.startswith(("io.", "os.", "zipfile.")) else 1 :]]
    arguments += [keyword.value for keyword in call.keywords if keyword.arg in ("mode", None)]
    modes = [node.value for node in arguments[:1] if isinstance(node, ast.Constant)]
    # A mode that is worked out may be any.
    return any(isinstance(mode, str) and set(mode) & set("wax+") for mode in modes) or (
        bool(arguments) and not modes and full in ("open", "io.open")
    )


def test_files_are_written_where_it_is_known_alone() -> None:
    writes = {
        (path, where): names for path, tree in trees().items() for where, names in _writes(tree).items()
    }
    unknown = {
        place: names
        for place, names in writes.items()
        if place not in ALLOWED and (place[0], "*") not in ALLOWED
    }
    assert unknown == {}, "write through spectui.store.files, or say here why not"
    assert {place for place in ALLOWED if place[1] != "*"} - set(writes) == set()


@pytest.mark.parametrize(
    "code",
    [
        "open('x', 'w')", "open('x', mode='ab')", "open('x', m)", "p.open('w')", "p.open(mode='x')", "p.replace(q)",
        "p.write_text('x')", "p.write_bytes(b'')", "p.touch()", "m.save_pretrained(p)",
        "import numpy as np\nnp.savez(p)", "import torch\ntorch.save(1, p)", "import json\njson.dump(1, f)",
        "from safetensors.torch import save_file\nsave_file({}, p)", "import zipfile\nzipfile.ZipFile(p, 'w')",
        "import os\nos.open(p, os.O_WRONLY | os.O_CREAT)", "import os\nos.replace(p, q)",
        "import shutil\nshutil.copy(p, q)", "from shutil import move as m\nm(p, q)",
    ],
)  # fmt: skip
def test_a_new_place_that_writes_would_be_seen(code: str) -> None:
    assert _writes(ast.parse(code))


@pytest.mark.parametrize(
    "code",
    [
        "import os\nos.open(os.devnull, os.O_WRONLY)",
        "open('x')",
        "open('x', 'rb')",
        "p.open('rb')",
        "p.open()",
        "'a'.replace('a', 'b')",
        "import os\nos.open(p, os.O_RDONLY)",
    ],
)
def test_reading_is_no_writing(code: str) -> None:
    assert not _writes(ast.parse(code))


def test_folders_are_walked_in_a_way_that_survives_their_going() -> None:
    walks = {path for path, tree in trees().items() for _, name, _ in calls(tree)
             if name.rpartition(".")[2] in ("rglob", "iterdir", "walk", "scandir", "listdir")}  # fmt: skip
    # The files of a model that was asked for: one that is not there is an error.
    assert walks <= {
        "store/files.py",
        "decoding/models/fingerprint.py",
        "decoding/checkpoints/hub.py",
        "decoding/checkpoints/foreign.py",
        "recorder/files.py",
    }


# Commands that write what the user names.


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("written") / "runs.db"
    session(path)
    return path


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("questions") / "mine.jsonl"
    line = '{"task": "a", "prompt": "Question, and more of it, number '
    path.write_text("".join(line + f'{i}"}}\n' for i in range(100)))
    return path


COMMANDS: dict[str, list[str]] = {
    "html": ["report", "1", "--html", "OUT"],
    "svg": ["report", "1", "--svg", "OUT"],
    "csv": ["report", "1", "--csv", "DIR"],
    "budget": ["advise", "1", "--save", "OUT"],
    "prompts": ["prompts", "import", "--format", "jsonl", "QUESTIONS", "--out", "OUT"],
    "export csv": ["sessions", "export", "1", "--out", "DIR"],
    "export sqlite": ["sessions", "export", "1", "--format", "sqlite", "--out", "OUT"],
}
FOLDERS = {"csv": "alpha.csv", "export csv": "node.csv"}


@pytest.fixture
def run(database: Path, questions: Path, tmp_path: Path) -> Callable[..., Result]:
    def run(name: str, *more: str, out: Path | None = None) -> Result:
        return CliRunner().invoke(
            main, [*command(name, questions, out or tmp_path / "out"), *more, "--db", str(database)]
        )

    return run


def command(name: str, questions: Path, out: Path) -> list[str]:
    given = {"QUESTIONS": str(questions), "OUT": str(out), "DIR": str(out)}
    return [given.get(part, part) for part in COMMANDS[name]]


def made(name: str, out: Path) -> Path:
    """The file to look at."""
    return out / FOLDERS[name] if name in FOLDERS else out


@pytest.mark.parametrize("name", COMMANDS)
def test_what_is_there_is_kept_unless_asked(run: Callable[..., Result], tmp_path: Path, name: str) -> None:
    file = made(name, tmp_path / "out")
    file.parent.mkdir(exist_ok=True)
    file.write_text("mine")
    file.chmod(0o640)
    refused = run(name)
    assert refused.exit_code == 2
    assert f"{file} is there already; --force replaces it, or name another place" in refused.stderr
    assert file.read_text() == "mine"
    assert run(name, "--force").exit_code == 0
    assert file.read_bytes() != b"mine"
    assert stat.S_IMODE(file.stat().st_mode) == 0o640  # as the file that it replaced
    assert [left.name for left in tmp_path.rglob("*.part")] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_new_files_are_private_and_a_link_is_no_way_round(
    run: Callable[..., Result], tmp_path: Path, name: str
) -> None:
    assert run(name).exit_code == 0
    assert stat.S_IMODE(made(name, tmp_path / "out").stat().st_mode) == 0o600
    precious, link = tmp_path / "precious", made(name, tmp_path / "again")
    precious.write_text("mine")
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(precious)
    assert run(name, out=tmp_path / "again").exit_code == 2
    assert run(name, "--force", out=tmp_path / "again").exit_code == 0
    assert (precious.read_text(), link.is_symlink()) == ("mine", False)


FULL = """
import json, resource, signal, sys
from click.testing import CliRunner
from spectui.tui.cli import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
main(["--help"], standalone_mode=False)
for arguments in json.loads(sys.argv[1]):
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, resource.RLIM_INFINITY))
    done = CliRunner().invoke(main, arguments)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    print(json.dumps([done.exit_code, done.stderr]))
"""


def test_a_full_disk_leaves_what_was_there(database: Path, questions: Path, tmp_path: Path) -> None:
    import json

    wanted = []
    for name in COMMANDS:
        file = made(name, tmp_path / name)
        file.parent.mkdir(exist_ok=True)
        file.write_text("mine")
        wanted.append([*command(name, questions, tmp_path / name), "--force", "--db", str(database)])
    with closing(connect(database)) as open_already:  # so that SQLite has its own files by then
        open_already.execute("SELECT count(*) FROM session").fetchall()
        done = subprocess.run(
            [sys.executable, "-c", FULL, json.dumps(wanted)], cwd=ROOT, capture_output=True, text=True, check=True,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip
    said = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    assert len(said) == len(COMMANDS)
    for name, (code, words) in zip(COMMANDS, said, strict=True):
        assert made(name, tmp_path / name).read_text() == "mine", name
        assert code == 2, (name, words)
        assert words.strip().splitlines()[-1].startswith("spectui: "), (name, words)
    assert [left.name for left in tmp_path.rglob(".*")] == []


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in FOLDERS])
def test_a_pipe_is_written_to(run: Callable[..., Result], tmp_path: Path, name: str) -> None:
    pipe = tmp_path / "out"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()), daemon=True)
    reader.start()
    assert run(name).exit_code == 0
    reader.join(20)
    assert len(read[0]) > 100
    assert pipe.is_fifo()


def test_standard_output_and_a_full_device(database: Path, tmp_path: Path) -> None:
    spectui = [str(Path(sys.executable).with_name("spectui")), "report", "1", "--db", str(database), "--svg"]
    with (tmp_path / "charts.svg").open("wb") as out:
        subprocess.run([*spectui, "/dev/stdout"], check=True, stdout=out)
    assert (tmp_path / "charts.svg").read_text().rstrip().endswith("</svg>")
    full = CliRunner().invoke(main, [*spectui[1:], "/dev/full"])
    assert full.exit_code == 2
    assert "cannot write /dev/full: No space left on device" in full.stderr


def test_somebody_who_was_faster_is_not_written_over(tmp_path: Path) -> None:
    def write() -> None:
        with new_file(tmp_path / "x", force=False) as draft:
            draft.write_text("ours")
            (tmp_path / "x").write_text("theirs")

    with pytest.raises(StoreError, match="is there already"):
        write()
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("x", "theirs")]


def test_a_count_goes_on_while_what_it_counts_vanishes(tmp_path: Path) -> None:
    # As pip empties its folders while the progress of its download is worked out.
    (tmp_path / "stays").write_bytes(b"x" * 10)
    done = threading.Event()

    def come_and_go() -> None:
        while not done.is_set():
            (tmp_path / "a" / "b" / "c").mkdir(parents=True)
            (tmp_path / "a" / "b" / "file").write_bytes(b"xx")
            shutil.rmtree(tmp_path / "a")

    other = threading.Thread(target=come_and_go, daemon=True)
    other.start()
    try:
        for _ in range(3000):
            assert sum(sizes(files_below(tmp_path))) in (10, 12)
    finally:
        done.set()
        other.join(20)


def test_a_folder_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert list(files_below(tmp_path / "none")) == []
    assert sizes([tmp_path / "none"]) == []


def test_a_long_name_will_do(tmp_path: Path) -> None:
    write_text(tmp_path / ("n" * 255), "text")
    assert [len(file.name) for file in tmp_path.iterdir()] == [255]


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    def leave() -> None:
        with replacing(tmp_path / "text" / "shard") as draft:
            draft.rename(draft.with_name(".shard.left.part"))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        leave()
    assert len(list(tmp_path.rglob("*.part"))) == 1
    remove_drafts(tmp_path)
    assert list((tmp_path / "text").iterdir()) == []
