"""The check for GPU machines: says so without one, and all of it but the capture runs here on small shapes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

COMMAND = [sys.executable, "-m", "tests.bench.gpu_check"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_it_says_so_and_on_the_cpu_every_check_holds(tmp_path: Path) -> None:
    done = subprocess.run(COMMAND, capture_output=True, text=True, check=False)
    assert (done.returncode, "no CUDA device" in done.stdout) == (3, True)
    out = tmp_path / "check.json"
    environment = {**os.environ, "SPECTUI_STATIC": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*COMMAND, "--device", "cpu", "--tiny", "--out", str(out)],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(out.read_text())
    assert len(report["checks"]) >= 9
    assert [one["temperature"] for one in report["end_to_end"]] == [0.0, 0.7, 1.0]
    assert all(one["over_assisted"] > 0 for one in report["end_to_end"])
    assert set(report["times"]["verification"]["nodes"]) == {"1", "6", "14", "32", "64"}
    assert "CUDA graphs need a GPU" in report["times"]["verification"]["eager_because"]
