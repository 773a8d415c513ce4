"""Protects `doctor`'s lines on kernels: what there is, and what to do where something is missing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from spectui.decoding.machine.kernels import Facts, Finding, findings, gather
from spectui.decoding.models.placement import MULTI_GPU
from spectui.decoding.models.quantization import INSTALL_GPTQ

H100 = ("NVIDIA H100 80GB HBM3", (9, 0))
WHOLE = Facts(
    driver=("580.82.07", (13, 0)), torch="2.13.0", torch_cuda="13.0", archs=("sm_80", "sm_90"), gpus=(H100,),
    packs=True, gptqmodel="7.6.0", optimum="2.3.0", accelerate="1.12.0", nvcc=True, visible=None, fixed_sizes=True,
    captures=True,
)  # fmt: skip
CPU = replace(WHOLE, driver=None, torch="2.13.0+cpu", torch_cuda="", archs=(), gpus=(), fixed_sizes=False)


def by_part(facts: Facts) -> dict[str, Finding]:
    return {finding.part: finding for finding in findings(facts)}


@pytest.mark.parametrize("facts", [WHOLE, CPU])
def test_where_nothing_is_missing_there_is_nothing_to_do(facts: Facts) -> None:
    assert [finding for finding in findings(facts) if finding.advice] == []


def test_this_machine_is_described() -> None:
    facts = gather()
    assert facts.torch == torch.__version__
    parts = by_part(facts)
    assert torch.__version__ in parts["torch"].state
    assert {"NVIDIA driver", "torch", "attention", "linear layers", "forwards", "GPTQ"} <= parts.keys()
    assert all("\n" not in one.state + one.advice for one in parts.values())


@pytest.mark.parametrize(
    ("changes", "part", "state", "advice"),
    [
        ({"driver": None, "gpus": ()}, "NVIDIA driver", "none", "install its driver"),
        ({"driver": ("535.1", (12, 2))}, "NVIDIA driver", "up to 12.2", "built for CUDA 13.0: update the driver"),
        ({"torch_cuda": "", "gpus": ()}, "torch", "without CUDA", "install a build for CUDA 13.0: https://pytorch"),
        ({"gpus": (), "visible": ""}, "torch", "sees no GPU", "CUDA_VISIBLE_DEVICES is '': unset it"),
        ({"gpus": (("V100", (7, 0)),)}, "GPU 0", "7.0", "no kernels for it"),
        ({"gpus": (("T4", (7, 5)),), "archs": ("sm_75",)}, "GPU 0", "no bfloat16", "--dtype float16"),
        ({"gpus": (H100, H100), "accelerate": ""}, "several GPUs", "fit on one of them", MULTI_GPU),
        ({"captures": False}, "forwards", "not captured", "unset SPECTUI_CAPTURE"),
        ({"gpus": (), "driver": None}, "forwards", "only a GPU", "unset SPECTUI_STATIC"),
        ({"gptqmodel": "", "optimum": ""}, "GPTQ", "gptqmodel and optimum missing", INSTALL_GPTQ),
        ({"nvcc": False}, "GPTQ", "no nvcc", "CUDA toolkit"),
        ({"packs": False, "gpus": ()}, "linear layers", "again at every call", "oneDNN"),
    ],
)  # fmt: skip
def test_what_is_missing_is_named_with_what_to_do(
    changes: dict[str, Any], part: str, state: str, advice: str
) -> None:
    finding = by_part(replace(WHOLE, **changes))[part]
    assert state in finding.state
    assert advice in finding.advice


@pytest.mark.parametrize(
    ("archs", "capability", "runs"),
    [
        (("sm_86",), (8, 9), True), (("sm_90",), (8, 9), False), (("sm_80",), (9, 0), False),
        (("compute_80",), (9, 0), True), (("sm_90a",), (9, 0), True), (("sm_100",), (10, 3), True), ((), (9, 0), False),
    ],
)  # fmt: skip
def test_which_builds_run_on_which_devices(
    archs: tuple[str, ...], capability: tuple[int, int], runs: bool
) -> None:
    finding = by_part(replace(WHOLE, archs=archs, gpus=(("a GPU", capability),)))["GPU 0"]
    assert ("no kernels" not in finding.advice) == runs
