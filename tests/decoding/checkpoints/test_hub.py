"""Models from the hub: a process of its own asks a hub on this machine, because the address is read at import."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest
import torch
from huggingface_hub.errors import GatedRepoError
from safetensors.torch import load_file

from spectui.decoding.checkpoints.hub import explain_hub_error, split_revision
from tests.decoding.eagle.test_first import authors
from tests.heads import tiny_head
from tests.hub_server import COMMIT, hub
from tests.models import tiny_llama

CHILD = """
import json, sys
from spectui.decoding.config import RunConfig
from spectui.decoding.errors import DecodingError
from spectui.decoding.models.load import load_models
from spectui.decoding.models.needs import needs_of
from spectui.decoding.models.fingerprint import model_files

out = []
for fields in json.loads(sys.stdin.read()):
    told = []
    try:
        config = RunConfig(**fields)
        needs = needs_of(config, lambda *_: None)
        loaded = load_models(config, lambda *step: told.append(step))
        out.append({
            "weights": {role: found.weights for role, found in needs.items()},
            "draft": type(loaded.draft).__name__, "notes": loaded.notes,
            "bytes": [step[1:] for step in told if step[0].startswith("downloading")][-1:],
            "tensors": [step[1:] for step in told if step[0] == "loading target"][-1:],
            "files": sorted(model_files(config)["target"]),
        })
    except DecodingError as error:
        out.append({"error": str(error)})
print(json.dumps(out))
"""


def _ask(address: str, home: Path, *runs: dict[str, Any], **environment: str) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-c", CHILD],
        input=json.dumps(runs),
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "HF_ENDPOINT": address,
            "HF_HOME": str(home),
            "HF_HUB_OFFLINE": "0",
            **environment,
        },
        check=True,
    )
    answers: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    assert all("\n" not in one.get("error", "") for one in answers)
    return answers


def test_a_hub_of_good_and_bad_repositories(tmp_path: Path) -> None:
    folders = {name: tmp_path / name.replace("/", "-") for name in
               ("a/target", "a/draft", "a/head", "a/gated", "a/pickled", "a/not-a-model", "a/cut", "a/eagle1",
               "a/eagle1-pickled")}  # fmt: skip
    model = tiny_llama(folders["a/target"], layers=6, context=512)
    tiny_llama(folders["a/draft"], context=256)
    _save_official_head(model, folders["a/head"])
    for name in ("a/eagle1", "a/eagle1-pickled"):
        authors(folders[name], model)
    torch.save(
        load_file(folders["a/eagle1-pickled"] / "model.safetensors"),
        folders["a/eagle1-pickled"] / "pytorch_model.bin",
    )
    (folders["a/eagle1-pickled"] / "model.safetensors").unlink()
    for name in ("a/gated", "a/pickled", "a/cut"):
        tiny_llama(folders[name])
    (folders["a/pickled"] / "model.safetensors").rename(folders["a/pickled"] / "pytorch_model.bin")
    (folders["a/not-a-model"]).mkdir()
    (folders["a/not-a-model"] / "notes.txt").write_text("nothing")
    weights = folders["a/cut"] / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    home = tmp_path / "home"
    with hub(folders, {"a/gated"}) as address:
        pair, head, eagle1, pickled, *bad = _ask(
            address,
            home,
            {"target": "a/target@main", "draft": "a/draft"},
            {"target": f"a/target@{COMMIT}", "draft": "a/head", "allow_pickle": True},
            {"target": "a/target", "draft": "a/eagle1"},
            {"target": "a/target", "draft": "a/eagle1-pickled", "allow_pickle": True},
            {"target": "a/gated"},
            {"target": "a/nothing"},
            {"target": "a/target@v9"},
            {"target": "a/pickled"},
            {"target": "a/not-a-model"},
            {"target": "a/cut"},
            {"target": "a/head"},
        )
    assert pair["draft"] == "LlamaForCausalLM"
    assert "holds 256 tokens and the target's 512" in pair["notes"][0]
    parameters = sum(p.numel() for p in model.parameters())
    assert pair["weights"]["target"] == 4 * parameters  # from the headers, before the download
    (done, total, unit) = pair["bytes"][0]
    assert unit == "bytes"
    assert done == total > 4 * parameters - 1000 or done > 0
    assert pair["tensors"][0][0] == pair["tensors"][0][1] > 0
    assert "model.safetensors" in pair["files"]
    assert head["draft"] == "EagleHead"
    assert eagle1["draft"] == pickled["draft"] == "FirstEagleHead"
    said = [one["error"] for one in bad]
    for text, words in zip(
        said,
        (
            "is gated: accept its terms at",
            "is not on the hub, or it is private: log in with: hf auth login",
            "has no revision 'v9'",
            "has pickled weights, a format that can hold code",
            "has no config.json on the hub",
            "was cut:",
            "is an EAGLE-3 head; give it as --draft",
        ),
        strict=True,
    ):
        assert words in text
    # The server is gone: what was fetched serves, what was not is named.
    again, missing = _ask(address, home, {"target": "a/target", "draft": "a/draft"}, {"target": "a/other"})
    assert again["weights"] == pair["weights"]
    assert "hub can't be reached" in missing["error"]


def test_a_token_without_access_is_told_apart_from_none(monkeypatch: pytest.MonkeyPatch) -> None:
    request = httpx2.Request("GET", "http://hub")
    error = GatedRepoError("403", response=httpx2.Response(403, request=request))
    for token, words in ((None, "log in with: hf auth login"), ("hf_somebody", "your token has no access")):
        monkeypatch.setattr("spectui.decoding.checkpoints.hub.get_token", lambda token=token: token)
        assert words in explain_hub_error("a/gated", error)


def _save_official_head(model: Any, folder: Path) -> None:
    """In the authors' layout, pickled as they publish it."""
    from tests.decoding.eagle.test_checkpoint import official

    official(tiny_head(model), folder, file="pytorch_model.bin")


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("a/b", ("a/b", None)), ("a/b@v1.0", ("a/b", "v1.0")), ("./x@y", ("./x@y", None)), ("gpt2@", ("gpt2", None)),
    ],
)  # fmt: skip
def test_a_revision_stands_behind_an_at_sign(name: str, parts: tuple[str, str | None]) -> None:
    assert split_revision(name) == parts
