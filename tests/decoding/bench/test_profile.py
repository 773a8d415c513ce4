"""Protects `bench --profile`: phases add up to the time there was, and every part of a round is one of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from spectui import prompts
from spectui.decoding.bench import profile
from spectui.decoding.bench.__main__ import main
from spectui.decoding.bench.arms import RECORD, TEXT
from spectui.decoding.bench.floor import bandwidth, floor_ms, weight_bytes
from spectui.decoding.bench.profile import REST
from spectui.decoding.config import RunConfig
from spectui.decoding.phases import ACCEPT, DRAFT, FIGURES, KEEP, LEARN, PREFILL, VERIFY
from spectui.decoding.target.packed import can_pack, pack_linears
from tests.before.files import check_keys
from tests.decoding.eagle.test_checkpoint import official
from tests.heads import tiny_head
from tests.models import cut_down, tiny_llama, tiny_tokenizer


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("profile")
    model = tiny_llama(folder / "target", context=2048, layers=6)
    cut_down(model, folder / "draft", 2, tiny_tokenizer())
    official(tiny_head(model), folder / "head")
    return folder


@pytest.mark.parametrize("static", ["0", "1"])
@pytest.mark.parametrize(
    ("draft", "tree", "temperature", "levels"),
    [
        ("draft", "full:3x2", 0.0, 3), ("draft", "dynamic:4x2", 0.8, 2), ("head", "chain:3", 0.8, 3),
        ("recycling", "recycling:8", 0.0, 0), ("draft+lookup", "chain:2", 0.0, 2),
    ],
)  # fmt: skip
def test_every_part_of_a_round_is_a_phase(
    folders: Path,
    monkeypatch: pytest.MonkeyPatch,
    static: str,
    draft: str,
    tree: str,
    temperature: float,
    levels: int,
) -> None:
    monkeypatch.setenv("SPECTUI_STATIC", static)
    monkeypatch.setattr(profile, "bandwidth", lambda device: 1e9)
    named = draft if draft == "recycling" else str(folders / draft)
    config = RunConfig(
        target=str(folders / "target"), draft=named, tree=tree, temperature=temperature, max_new_tokens=12
    )
    chosen = [prompts.Prompt(f"p-{i}", "chat", text) for i, text in enumerate(["Tom is a cat", "One two"])]
    figures = profile.figures(*profile.measure(config, chosen, lambda _: None))
    phases = {part["phase"]: part for part in figures["phases"]}
    assert {PREFILL, DRAFT, VERIFY, ACCEPT, KEEP, LEARN, FIGURES, RECORD, TEXT, REST} <= phases.keys()
    assert {name for name in phases if name.startswith("draft level")} == {
        f"draft level {n}" for n in range(1, levels + 1)
    }
    assert phases[VERIFY]["calls"] == figures["rounds"]
    if levels and draft != "draft+lookup":
        assert phases["draft level 1"]["calls"] == figures["rounds"]
    assert sum(part["share"] for part in phases.values()) == pytest.approx(1.0, abs=0.01)
    assert 0 < figures["outside_forwards_share"] < 1
    assert phases[VERIFY]["over_floor"] > 0
    assert phases[VERIFY]["floor_ms"] > 0
    shown = profile.table(figures)
    assert all(name in shown for name in phases)


def test_it_is_a_command_with_json(
    folders: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(profile, "bandwidth", lambda device: bandwidth(device, 2**22))
    command = ["--profile", "--target", str(folders / "target"), "--draft", str(folders / "draft")]
    command += ["--tree", "chain:2", "--tasks", "code", "--per-task", "1", "--max-new-tokens", "8", "--json"]
    assert main(command) == 0
    figures: dict[str, Any] = json.loads(capsys.readouterr().out)
    check_keys("spectui bench --profile --json", figures)
    assert figures["bandwidth_bytes_per_second"] > 1e7
    assert figures["tree"] == "chain:2"
    with pytest.raises(SystemExit):
        main([*command, "--drafters", "all"])


def test_the_floor_counts_what_a_forward_reads() -> None:
    model = tiny_llama()
    embedding = model.get_input_embeddings().weight.nbytes
    everything = sum(p.nbytes for p in model.parameters()) + sum(b.nbytes for b in model.buffers())
    assert weight_bytes(model) == everything - embedding
    assert floor_ms(model, 1e6) == pytest.approx((everything - embedding) / 1e3)
    if can_pack():
        pack_linears(model)
        assert weight_bytes(model) == everything - embedding
    head = tiny_head(tiny_llama(layers=6))
    assert (
        0
        < weight_bytes(head)
        <= sum(p.nbytes for p in head.parameters()) + sum(b.nbytes for b in head.buffers())
    )
    assert bandwidth(torch.device("cpu"), 2**22) > 1e7
