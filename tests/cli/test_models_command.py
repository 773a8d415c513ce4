"""Protects `models check MODEL`: what a pair takes, revisions, and one line for what cannot be loaded; `models ls`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests import published
from tests.before.files import check_keys
from tests.cli.conftest import Invoke
from tests.gptq_checkpoint import gptq_llama
from tests.hub_cache import fill_cache
from tests.hub_server import COMMIT, hub
from tests.published import described


def test_revisions_of_a_hub_model_are_read_without_its_weights(
    invoke: Invoke, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    with hub({"a/tiny": model}, set()) as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        done = invoke("models", "check", f"a/tiny@{COMMIT}", "--draft", "recycling", "--json")
        assert done.exit_code == 0, done.stderr
        check_keys("spectui models check --json", json.loads(done.stdout))
        weights = json.loads(done.stdout)["needs"]["target"]["weights"]
        missing = invoke("models", "check", "a/tiny@v9", "--draft", "recycling")
    assert 0 < weights < (model / "model.safetensors").stat().st_size
    assert not list((tmp_path / "home").rglob("model.safetensors"))
    assert missing.exit_code == 1
    assert missing.stderr.splitlines() == [
        "spectui: model 'a/tiny' has no revision 'v9'; give a branch, tag or commit"
    ]


def test_a_pair_that_is_not_there_is_counted_from_its_configurations(invoke: Invoke, tmp_path: Path) -> None:
    target = described(tmp_path / "target", published.LLAMA_2_7B_GPTQ)
    draft = described(tmp_path / "draft", published.TINY_LLAMA)
    command: tuple[Any, ...] = (
        "models",
        "check",
        target,
        "--draft",
        draft,
        "--from-config",
        "--dtype",
        "float16",
    )
    told = invoke(*command).stdout.splitlines()
    assert told[0].startswith(f"target     {target} (float16, gptq): weights 3.9 GB, cache of 1,345 tokens")
    assert told[1].startswith(f"draft      {draft} (float16): weights 2.2 GB")
    assert invoke("models", "check", "--from-config").exit_code == 2


def test_what_cannot_be_loaded_is_one_line(invoke: Invoke, tmp_path: Path) -> None:
    gptq_llama(tmp_path / "model", bits=5)
    result = invoke("models", "check", tmp_path / "model", "--draft", "recycling")
    assert result.exit_code == 1
    (said,) = result.stderr.splitlines()
    assert said.startswith(f"spectui: the GPTQ model '{tmp_path / 'model'}' has weights of 5 bits")


def test_models_ls_shows_them(invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill_cache(tmp_path, monkeypatch)
    done = invoke("models", "ls")
    assert done.exit_code == 0, done.stderr
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("a/target"))
    assert line.split()[1:3] == ["LlamaForCausalLM", "model"]
    assert line.endswith("a/dflash@v2, a/eagle, a/small")
    assert "a/half: has no weights here: only its description was fetched" in done.stdout
    missing = invoke("models", "ls", "nowhere")
    assert missing.exit_code == 2
    assert "nowhere is no folder" in missing.stderr
