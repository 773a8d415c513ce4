"""Protects: nothing happens unless it is asked for, nothing else of spectui is needed, mistakes are one line."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from spectui.recorder.settings import Settings, SettingsError, from_environment
from tests.recorder.fake_vllm import SIGNATURES
from tests.sources import ROOT

SCHEDULER = """
class Scheduler:
    def __init__(self, vllm_config):
        self.vllm_config, self.requests = vllm_config, {}
    def add_request(self, request):
        self.requests[request.request_id] = request
    def update_from_output(self, scheduler_output, model_runner_output):
        return {}
    def _free_request(self, request, delay_free_blocks=False):
        del self.requests[request.request_id]
"""
SERVER = """
import sys
from types import SimpleNamespace as Any
{before}
from importlib.metadata import entry_points
from spectui.recorder import register
register(); register()
from vllm.v1.core.sched.scheduler import Scheduler
model = Any(model="tables", get_vocab_size=lambda: 64)
speculation = Any(method="ngram", num_speculative_tokens=2)
config = Any(speculative_config=speculation, model_config=model, scheduler_config=Any(async_scheduling=True))
scheduler = Scheduler(config)
asked = dict(sampling_params=Any(extra_args={{"task": "code"}}, temperature=0.0), priority=0, max_tokens=9)
scheduler.add_request(Any(request_id="a", num_prompt_tokens=3, session_id="s", **asked))
print(*sorted(name for name in sys.modules
               if name.partition(".")[0] not in {{*sys.stdlib_module_names, "__main__"}}))
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """The packages of a server's environment: a vLLM, and of spectui what a wheel installs."""
    folder = tmp_path / "site"
    package = folder / "vllm" / "v1" / "core" / "sched"
    package.mkdir(parents=True)
    for parent in (package, *package.parents[:3]):
        (parent / "__init__.py").write_text("")
    (folder / "vllm" / "__init__.py").write_text("__version__ = '0.33.0'")
    (package / "scheduler.py").write_text(SCHEDULER)
    (folder / "spectui").mkdir()
    (folder / "spectui" / "recorder").symlink_to(ROOT / "recorder")
    return folder


def serve(site: Path, before: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """A server in a process that has nothing but the standard library and this folder."""
    code = f"import sys; sys.path.insert(0, {str(site)!r})\n" + SERVER.format(before=before)
    return subprocess.run(
        [sys.executable, "-S", "-s", "-c", code],
        env={"PATH": "/usr/bin", **environment}, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip


def test_it_is_inert_unless_it_is_asked(site: Path, tmp_path: Path) -> None:
    done = serve(site)
    assert not [name for name in done.stdout.split() if name.startswith("spectui.recorder.")]
    assert done.stderr == ""
    assert not (tmp_path / "rows").exists()


@pytest.mark.parametrize(
    "before", ["", "import vllm.v1.core.sched.scheduler"], ids=["later", "imported already"]
)
def test_it_records_with_the_standard_library_alone(site: Path, tmp_path: Path, before: str) -> None:
    done = serve(site, before, SPECTUI_VLLM_DIR=str(tmp_path / "rows"))
    assert {name.partition(".")[0] for name in done.stdout.split()} == {"spectui", "vllm"}
    (file,) = (tmp_path / "rows").iterdir()
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert [row[0] for row in rows] == ["meta", "req", "stat"]
    assert (rows[0][1]["async"], rows[0][1]["vllm"], rows[0][1]["k"]) == (True, "0.33.0", 2)
    assert rows[1][1] | {"t": 0} == {
        "id": "a", "t": 0, "prompt": 3, "task": "code", "session": "s", "priority": 0, "max": 9, "temperature": 0.0,
    }  # fmt: skip


def test_a_mistake_in_a_switch_records_nothing_and_says_so(site: Path, tmp_path: Path) -> None:
    done = serve(site, SPECTUI_VLLM_DIR=str(tmp_path / "rows"), SPECTUI_VLLM_IDS="off")
    assert done.stderr == "spectui records nothing: SPECTUI_VLLM_IDS='off' is none of 1, 0\n"
    assert not (tmp_path / "rows").exists()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("SAMPLE", "1.5", "X_SAMPLE='1.5' is no number from 0 to 1"),
        ("SAMPLE", "nan", "X_SAMPLE='nan' is no number from 0 to 1"),
        ("MAX_MB", "much", "X_MAX_MB='much' is no number from 0 to 1e+09"),
        ("QUEUE", "0", "X_QUEUE='0' is no number from 1 to 1e+06"),
        ("KEEP", "all", "X_KEEP='all' is none of old, new"),
    ],
)
def test_mistakes_are_named(name: str, value: str, message: str) -> None:
    with pytest.raises(SettingsError) as raised:
        from_environment("X", {"X_DIR": "d", f"X_{name}": value})
    assert str(raised.value) == message


def test_settings_hold_for_the_processes_that_a_server_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    environment = {"X_DIR": "rows", "X_SAMPLE": "0.25", "X_DRAFT": "0"}
    first = from_environment("X", environment)
    monkeypatch.chdir("/")
    assert from_environment("X", environment) == first
    assert first is not None
    assert first.folder == str(tmp_path / "rows")
    assert (first.sample, first.draft, first.target, len(first.run)) == (0.25, False, True, 12)
    assert from_environment("X", {}) is None


def test_a_sample_is_chosen_by_what_no_process_changes() -> None:
    half = Settings("x", sample=0.5)
    assert [number for number in range(8) if half.chooses(f"chatcmpl-{number}")] == [2, 3, 6, 7]
    assert not any(Settings("x", sample=0).chooses(f"chatcmpl-{number}") for number in range(100))


def test_servers_find_it() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        groups = tomllib.load(file)["project"]["entry-points"]
    for group, names in groups.items():
        for entry in entry_points(group=group, name="spectui"):
            assert entry.value == names["spectui"]
            assert callable(entry.load())


def test_it_is_written_for_the_oldest_python_of_a_server() -> None:
    for path in (ROOT / "recorder").rglob("*.py"):
        ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 10))


def test_methods_are_called_alike_in_the_versions_that_are_claimed() -> None:
    assert {"0.32.0", "0.33.0"} <= set(SIGNATURES)
