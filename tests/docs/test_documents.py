"""Links, paths and code of README, CONTRIBUTING, CHANGELOG and docs.

Protects: a reader who follows a link, opens a file that is named, or copies an example gets what is promised.
Command lines are tried by `tests.cli.test_documented_commands`.
"""

from __future__ import annotations

import json
import math
import re
import sqlite3
import subprocess
import tomllib
from pathlib import Path
from urllib.parse import unquote

import pytest
from safetensors import safe_open

from spectui.decoding.drafters.registry import EMBEDDED_HEAD
from spectui.store.database import connect, open_database
from tests.docs.documents import DOCUMENTS, GUIDES, ROOT, Block, blocks, prose
from tests.models import tiny_llama, tiny_tokenizer
from tests.store.samples import record_all

LINK = re.compile(r"\]\(([^)\s]+)\)")
PAGES = [pytest.param(document, id=str(document.relative_to(ROOT))) for document in DOCUMENTS]
BLOCKS = [block for document in DOCUMENTS for block in blocks(document)]
LANGUAGES = {"", "bash", "json", "python", "sql", "text", "toml"}


def anchors(document: Path) -> set[str]:
    """The anchors of its headings, as GitHub and mkdocs spell them."""
    headings = re.findall(r"^#+ (.+)$", prose(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", PAGES)
def test_links_lead_somewhere(document: Path) -> None:
    for target in LINK.findall(prose(document)):
        if re.match(r"https?:", target):
            continue
        place, _, anchor = unquote(target).partition("#")
        file = (document.parent / place).resolve() if place else document
        assert file.is_file(), target
        assert not anchor or anchor in anchors(file), target


@pytest.mark.parametrize("document", PAGES)
def test_files_and_folders_that_are_named_exist(document: Path) -> None:
    """`decoding/engine.py`, `tests/bench` and the like, in code or in a drawing."""
    rooms = "decoding|store|tui|prompts|tests|docs"
    for path in re.findall(rf"(?<![\w./-])(?:{rooms})/[\w./-]*\w", document.read_text(encoding="utf-8")):
        assert (ROOT / path).exists(), path


def test_every_page_is_reached_from_the_readme() -> None:
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        document = waiting.pop()
        if document in reached:
            continue
        reached.add(document)
        for target in LINK.findall(prose(document)):
            file = (document.parent / target.partition("#")[0]).resolve()
            if file.suffix == ".md" and file.is_file():
                waiting.append(file)
    assert reached >= set((ROOT / "docs").rglob("*.md")) - {ROOT / "docs" / "index.md"}


def test_every_block_has_a_language_that_is_checked() -> None:
    assert {block.language for block in BLOCKS} <= LANGUAGES


def _of(*languages: str) -> list[object]:
    return [pytest.param(block, id=block.name) for block in BLOCKS if block.language in languages]


@pytest.mark.parametrize("block", _of("json", "toml"))
def test_data_parses(block: Block) -> None:
    if block.language == "toml":
        tomllib.loads(block.text)
    else:
        json.loads(block.text)


@pytest.mark.parametrize("block", _of("bash"))
def test_scripts_parse(block: Block) -> None:
    done = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("block", _of("sql"))
def test_queries_are_of_the_schema(block: Block, tmp_path: Path) -> None:
    connect(tmp_path / "spectui.db").close()
    database = sqlite3.connect(tmp_path / "spectui.db")
    database.execute(f"EXPLAIN {block.text}")
    database.close()


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model in place of the embedded one."""
    folder = tmp_path_factory.mktemp("documents") / "target"
    tiny_llama(folder, tokenizer=tiny_tokenizer())
    return folder


@pytest.mark.parametrize("block", _of("python"))
def test_python_compiles(block: Block) -> None:
    compile(block.text, block.name, "exec")


@pytest.mark.parametrize("block", _of("python"))
def test_python_runs(block: Block, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder with a database, and with that model."""
    if block.document.name == "CONTRIBUTING.md":
        return  # the text of files that other tests use (`tests.docs.test_recipes`)
    monkeypatch.chdir(tmp_path)
    database = open_database("spectui.db")
    record_all(database, ("code", "math"), 3)
    database.close()
    code = block.text.replace("RunConfig(", f"RunConfig(target={str(target)!r}, ")
    exec(compile(code, block.name, "exec"), {})


def test_every_benchmark_says_which_figure_it_makes() -> None:
    table = (ROOT / "tests" / "bench" / "README.md").read_text(encoding="utf-8")
    scripts = {file.name for file in (ROOT / "tests" / "bench").glob("*.py")} - {"__init__.py"}
    assert set(re.findall(r"`(\w+\.py)`", table)) == scripts


def test_every_benchmark_makes_a_figure_that_is_told_or_is_a_target_of_make() -> None:
    texts = [document.read_text(encoding="utf-8") for document in GUIDES] + [(ROOT / "Makefile").read_text()]
    named = set(re.findall(r"tests\.bench\.(\w+)", "\n".join(texts)))
    scripts = {file.stem for file in (ROOT / "tests" / "bench").glob("*.py")} - {"__init__", "terminal_svg"}
    assert scripts - named == set()


def test_every_environment_variable_is_told() -> None:
    sources = [
        file
        for room in ("decoding", "prompts", "servers", "store", "tui")
        for file in (ROOT / room).rglob("*.py")
    ]
    read = {name for file in sources for name in re.findall(r"\bSPECTUI_[A-Z]+\b", file.read_text("utf-8"))}
    told = "\n".join(document.read_text(encoding="utf-8") for document in GUIDES)
    assert {name for name in read if name not in told} == {
        "SPECTUI_DISTILL"
    }  # between a process and its child


def test_the_size_of_the_head_that_comes_with_spectui_is_that_of_its_file() -> None:
    with safe_open(EMBEDDED_HEAD / "model.safetensors", "np") as file:
        names = set(file.keys()) - {"d2t", "t2d"}
        shapes = [file.get_slice(name).get_shape() for name in names]
    parameters = sum(math.prod(shape) for shape in shapes)
    assert f"head of {parameters / 1e6:.0f} M parameters" in (ROOT / "docs/how-to/models.md").read_text()
