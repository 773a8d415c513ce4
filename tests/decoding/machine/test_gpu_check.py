"""Protects the check for GPU machines: it says so without one, loses nothing when it is killed, and every section runs.

All but the captures run here on small shapes; captures, and the verdict on them, on a fake GPU.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from spectui.decoding.config import RunConfig
from spectui.decoding.device import acceptance
from spectui.decoding.device.rounds import DeviceRounds
from spectui.decoding.drafters.registry import KINDS
from tests.bench.gpu_check.__main__ import NO_CHECK, NO_CUDA, main
from tests.bench.gpu_check.agreeing import Language
from tests.bench.gpu_check.b_capture import PAIRS, Family, case, waits
from tests.bench.gpu_check.c_verification import filled, forwards
from tests.bench.gpu_check.d_levels import parts
from tests.bench.gpu_check.h_limits import repeat
from tests.bench.gpu_check.report import Report, Setting
from tests.bench.gpu_check.table import read, table
from tests.bench.gpu_check.watch import Watch
from tests.fake_gpu import FakeGpu
from tests.heads import tiny_head
from tests.models import tiny_llama

TINY = ["--device", "cpu", "--tiny"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "check.jsonl"
    assert main(["--out", str(out)]) == NO_CUDA
    said = capsys.readouterr().out
    assert "no CUDA device" in said
    assert len(said.splitlines()) == 1
    assert not out.exists()


def test_an_unknown_section_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="there is no section X, Y"):
        main([*TINY, "--only", "x,a,y"])


def test_every_section_but_that_of_captures_runs_and_holds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "check.jsonl"
    code = main([*TINY, "--only", "A,C,D,E,F,G,H", "--out", str(out)])
    lines = read(out)
    assert code == 0, [line for line in lines if line.get("holds") is False or "raised" in line]
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert printed == lines
    assert [line["section"] for line in lines if "finished" in line] == list("ACDEFGH")
    # A time on small shapes is never taken for a figure.
    assert {line["void"] for line in lines if line.get("unit") in ("ms", "tok/s", "GB/s", "x")} == {True}
    foretold = [line for line in lines if "foretold" in line.get("check", "")]
    assert len(foretold) > 10
    assert len({line["value"] for line in lines if line.get("figure") == "tokens per round"}) > 3
    for part in ("verification", "judgement", "gather", "draft", "head", "choice"):
        assert any(line.get("part") == part and line["value"] for line in lines), part
    text = table(lines)
    assert "holds" in text.splitlines()[0]
    assert "| full:3x2, over plain |" in text
    assert "FAILED" not in text


def test_it_can_be_killed_half_way(tmp_path: Path) -> None:
    out = tmp_path / "check.jsonl"
    command = [sys.executable, "-m", "tests.bench.gpu_check", *TINY, "--only", "A,B", "--out", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    ) as process:
        assert process.stdout is not None
        printed = []
        for line in process.stdout:
            printed.append(json.loads(line))
            if sum("check" in each for each in printed) == 2:
                process.kill()
                break
    assert process.returncode < 0
    text = out.read_text()
    assert text.endswith("\n")
    assert [json.loads(line) for line in text.splitlines()][: len(printed)] == printed
    out.write_text(text + '{"at": 3.1, "figure": "co')  # cut by a full disk or a lost connection
    assert "cut off" in table(read(out)).splitlines()[0]


def test_a_budget_leaves_out_what_would_not_end_in_it(tmp_path: Path) -> None:
    out = tmp_path / "check.jsonl"
    assert main([*TINY, "--only", "A,B,I", "--budget", "0", "--out", str(out)]) == NO_CHECK
    lines = read(out)
    assert [line["skipped"] for line in lines if "skipped" in line][1:] == [
        "capture, tiny shapes",
        "a compiled layer",
    ]
    assert not [line for line in lines if "figure" in line]
    assert lines[-1]["verdict"] == "nothing checked"
    assert "nothing checked" in table(lines).splitlines()[0]


def test_an_error_ends_its_section_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        try:
            raise RuntimeError("the cause, in a transfer")
        except RuntimeError:
            raise RuntimeError("a capture failed")  # noqa: B904 - as CUDA chains them

    monkeypatch.setattr("tests.bench.gpu_check.c_verification.filled", fails)
    out = tmp_path / "check.jsonl"
    assert main([*TINY, "--only", "C,A", "--out", str(out)]) == 1
    lines = read(out)
    assert [line["section"] for line in lines if "finished" in line] == ["A", "C"]
    error = next(line["raised"] for line in lines if "raised" in line)
    assert "a capture failed" in error[0]
    assert "the cause, in a transfer" in error[1]
    assert "from: RuntimeError: the cause, in a transfer" in table(lines)


CHILD = """
import json, sys
sys.stderr.write("a warning ")
print('{"check": "first", "sec', end="", flush=True)
sys.stderr.write("in the midst\\n")
sys.stderr.flush()
print('tion": "H", "holds": true, "at": 1.0}')
print('{"section": "H", "skipped": "a part", "reason": "no room"}')
print("7")
print('{"section": "H", "finished": "", "seconds": 0.1}')
print('{"verdict": "holds", "failures": []}', flush=True)
"""


@pytest.mark.parametrize(
    ("end", "holds"), [("", True), ("sys.exit(1)", False), ("import os; os.abort()", False)]
)
def test_nothing_of_a_sections_own_process_is_lost(end: str, holds: bool, capsys: Any) -> None:
    """A warning within a line, a part that is left out, and an end that is not that of its verdict."""
    report = Report(Setting(torch.device("cpu"), tiny=True))
    with report.section("H", "limits"):
        repeat(report, [sys.executable, "-c", CHILD + end])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["check"], line["holds"]) for line in lines if "check" in line] == [
        ("first", True),
        ("its process ended", holds),
    ]
    assert report.skipped == ["H: a part"]
    assert report.failures == ([] if holds else ["H: its process ended"])
    ended = next(line for line in lines if line.get("check") == "its process ended")
    assert holds or ended["output"] == ["7", "a warning in the midst"]


def test_a_process_without_a_verdict_fails(capsys: Any) -> None:
    report = Report(Setting(torch.device("cpu"), tiny=True))
    repeat(report, [sys.executable, "-c", "print('{}')"])
    assert report.failures == [": its process ended"]


def test_captures_are_tried_of_every_kind_that_drafts_on_the_device() -> None:
    tried = {RunConfig(draft=draft, tree=tree).base_draft for draft, tree in PAIRS}
    assert tried >= {kind.name for kind in KINDS.values() if kind.device_build}


def verdict(gpu: FakeGpu, draft: str, tree: str, sampling: dict[str, Any], capsys: Any) -> dict[str, Any]:
    """The line of a case of section B on a fake GPU."""
    target = tiny_llama(layers=3, context=2048)
    draft_model, head = tiny_llama(layers=3, context=2048), tiny_head(target)
    capsys.readouterr()
    with gpu, torch.inference_mode(), Watch() as watch:
        for model in (target, draft_model, head):
            gpu.move(model)
        family = Family.with_parts(target, draft_model, {"eagle": head})
        report = Report(Setting(torch.device("cuda", 0), tiny=True))
        config = RunConfig(draft=draft, tree=tree, max_new_tokens=12, **sampling)
        case(report, watch, family, config, torch.float32, None, ["eager"])
    line: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert bool(report.failures) != line["holds"]
    return line


@pytest.mark.parametrize(
    ("draft", "tree", "sampling"),
    [("embedded", "full:3x2", {}), ("eagle", "dynamic:8x4", {"temperature": 0.8})],
)
def test_what_is_captured_holds(draft: str, tree: str, sampling: dict[str, Any], capsys: Any) -> None:
    line = verdict(FakeGpu(), draft, tree, sampling, capsys)
    assert line["holds"], line
    assert f"| {line['check']} | " in table([{**line, "section": "B"}])
    assert line["eager"]
    assert line["repeats"]
    for part in ("verification", "judgement", "gather"):
        assert line[part]["graphs"] >= 1
        assert min(line[part]["nodes"]) > 0
        assert line[part]["runs"] > 3


def test_a_refused_capture_fails_with_its_cause(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """A value read on the host, in the judgement alone: the texts are right, and the check must fail all the same."""
    real = acceptance.accept_greedy

    def reading(*arguments: torch.Tensor) -> Any:
        accepted = real(*arguments)
        assert int(accepted.bonus) >= 0
        return accepted

    users = [m for name, m in sys.modules.items() if name.startswith("spectui.decoding.device.")
             and getattr(m, "accept_greedy", None) is real]  # fmt: skip
    for module in users:
        monkeypatch.setattr(module, "accept_greedy", reading)
    line = verdict(FakeGpu(), "embedded", "full:3x2", {}, capsys)
    assert line["eager"]
    assert not line["holds"]
    assert "judgement" in " ".join(line["problems"])
    assert "assert int(accepted.bonus) >= 0" in json.dumps(line["causes"])


def test_a_graph_that_is_empty_or_switched_off_fails(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr("tests.bench.gpu_check.watch.nodes_of", lambda graph: 0)
    line = verdict(FakeGpu(), "recycling", "recycling:8", {}, capsys)
    assert not line["holds"]
    assert "0 nodes" in line["problems"][0]


def on_fake_gpu(do: Callable[[Report, Watch, Family], None], capsys: pytest.CaptureFixture[str]) -> list[Any]:
    """Lines of a part of the check on a fake GPU."""
    target, draft = tiny_llama(layers=2, context=512), tiny_llama(layers=2, context=512)
    capsys.readouterr()
    with FakeGpu() as gpu, torch.inference_mode(), Watch() as watch:
        gpu.move(target)
        gpu.move(draft)
        report = Report(Setting(torch.device("cuda", 0), tiny=True))
        do(report, watch, Family.with_parts(target, draft, {}))
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_graphs_are_timed_alone_and_waits_are_counted(capsys: Any) -> None:
    def do(report: Report, watch: Watch, family: Family) -> None:
        buffered = filled(family.models["embedded"].target, 20)
        forwards(report, watch, buffered, 4, 20, 1.0, "verification")
        config = RunConfig(draft="embedded", tree="full:2x2", max_new_tokens=6)
        parts(report, watch, family.models["embedded"], config)
        waits(report, family, [("embedded", "full:2x2")])

    lines = on_fake_gpu(do, capsys)
    checks = {line["check"]: line for line in lines if "check" in line}
    assert [line["holds"] for line in checks.values()] == [True] * 3
    assert checks["embedded full:2x2: waits a round"]["waits"] == 1.0
    alone = {line["part"]: line for line in lines if line.get("figure") == "alone"}
    assert {"verification", "gather", "judgement", "draft"} <= set(alone)
    assert all(line["value"] > 0 for line in alone.values())
    nodes = {line["part"]: line["value"] for line in lines if line.get("figure") == "nodes"}
    assert nodes.keys() == alone.keys()
    assert min(nodes.values()) > 0
    rows = table([{**line, "section": "D"} for line in lines])
    assert rows.count("| embedded full:2x2 greedy, part draft, key (") == sum(
        line.get("part") == "draft" and line["figure"] == "alone" for line in lines
    )
    assert {line["figure"] for line in lines if line.get("rows") == 4} == {
        "wall",
        "replay",
        "replay over floor",
    }


def test_a_second_wait_a_round_fails(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    real = DeviceRounds.step

    def waiting(self: DeviceRounds, root: int, *rest: Any) -> Any:
        torch.ones((), device=self._target.device).item()
        return real(self, root, *rest)

    monkeypatch.setattr(DeviceRounds, "step", waiting)
    lines = on_fake_gpu(lambda report, _, family: waits(report, family, [("embedded", "full:2x2")]), capsys)
    assert [(line["holds"], line["waits"]) for line in lines] == [(False, 2.0)]
    assert lines[0]["at"]


def test_rounds_that_never_wait_fail(capsys: Any) -> None:
    """Values have to reach the host once a round: where no wait was seen, none was looked for."""

    def do(report: Report, watch: Watch, family: Family) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.cuda, "set_sync_debug_mode", lambda mode: None)
            waits(report, family, [("embedded", "full:2x2")])

    assert [(line["holds"], line["waits"]) for line in on_fake_gpu(do, capsys)] == [(False, 0.0)]


def test_the_rounds_of_a_known_language() -> None:
    language = Language.of(384)
    assert sorted(language.ring) == list(range(384))
    text = language.text(5, 50)
    assert len(set(text)) == 50
    assert all(language.after(a, 1) == b for a, b in zip([5, *text], text, strict=False))
    plain, chain, full = (language.rounds(5, 50, *shape) for shape in ((0, 1), (5, 1), (3, 2)))
    assert plain == 50
    assert full < chain < plain
