"""The kernels that decoding will use on this machine, and advice for better ones: a line for each part.

`gather` looks at the machine; `findings` judges its facts alone.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

import torch

from spectui.decoding.device.graphs import CAPTURE_SWITCH
from spectui.decoding.device.switch import uses_fixed_sizes
from spectui.decoding.machine.gpu import driver
from spectui.decoding.models.placement import MULTI_GPU
from spectui.decoding.models.quantization import GPTQ_PACKAGES, INSTALL_GPTQ
from spectui.decoding.target.packed import can_pack

BUILDS = "https://pytorch.org/get-started/locally"
"""The page on which builds of torch are chosen."""
HALVES = (8, 0)
"""Compute capability from which a GPU multiplies bfloat16."""


@dataclass(frozen=True)
class Facts:
    """The facts of a machine. Versions of packages are "" where they are missing."""

    driver: tuple[str, tuple[int, int]] | None
    """The NVIDIA driver's version, and the newest CUDA it runs."""
    torch: str
    torch_cuda: str
    """CUDA that torch was built for, "" for a build without."""
    archs: tuple[str, ...]
    """Architectures that torch's CUDA kernels were compiled for, such as sm_90."""
    gpus: tuple[tuple[str, tuple[int, int]], ...]
    """Name and compute capability of those that torch can use."""
    packs: bool
    gptqmodel: str
    optimum: str
    accelerate: str
    nvcc: bool
    visible: str | None
    """CUDA_VISIBLE_DEVICES."""
    fixed_sizes: bool
    """Forwards have fixed sizes on the device that a run takes by itself."""
    captures: bool


@dataclass(frozen=True)
class Finding:
    """The state of one part, and advice for better, "" where nothing is missing."""

    part: str
    state: str
    advice: str = ""

    def as_json(self) -> dict[str, str]:
        """The finding under the names that it has in ``spectui doctor --json``."""
        return {"what": self.part, "found": self.state, "do": self.advice}


def gather() -> Facts:
    """Look at this process's torch, its driver and its packages."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    gptqmodel, optimum = (package_version(name) for name in GPTQ_PACKAGES)
    return Facts(
        driver=driver(),
        torch=torch.__version__,
        torch_cuda=torch.version.cuda or "",
        archs=tuple(torch.cuda.get_arch_list()),
        gpus=tuple(
            (torch.cuda.get_device_name(i), torch.cuda.get_device_capability(i)) for i in range(count)
        ),
        packs=can_pack(),
        gptqmodel=gptqmodel,
        optimum=optimum,
        accelerate=package_version("accelerate"),
        nvcc=shutil.which("nvcc") is not None or "CUDA_HOME" in os.environ,
        visible=os.environ.get("CUDA_VISIBLE_DEVICES"),
        fixed_sizes=uses_fixed_sizes("cuda" if count else "cpu"),
        captures=os.environ.get(CAPTURE_SWITCH) != "0",
    )


def findings(facts: Facts) -> list[Finding]:
    """A line for each part, in the order in which one thing needs the other."""
    return [
        _driver(facts),
        _torch(facts),
        *(_gpu(facts, index) for index in range(len(facts.gpus))),
        *_several(facts),
        _attention(facts),
        _linears(facts),
        _forwards(facts),
        _gptq(facts),
    ]


def _driver(facts: Facts) -> Finding:
    if facts.driver is None:
        return Finding(
            "NVIDIA driver",
            "none",
            "" if not facts.torch_cuda else "for a GPU, install its driver; a CPU needs none",
        )
    name, (major, minor) = facts.driver
    state = f"{name}, runs CUDA up to {major}.{minor}"
    if facts.torch_cuda and int(facts.torch_cuda.split(".")[0]) > major:
        return Finding(
            "NVIDIA driver", state, f"torch was built for CUDA {facts.torch_cuda}: update the driver, or take an "
            f"older build of torch from {BUILDS}"
        )  # fmt: skip
    return Finding("NVIDIA driver", state)


def _torch(facts: Facts) -> Finding:
    if not facts.torch_cuda:
        do = "" if facts.driver is None else f"install a build for CUDA {_dotted(facts.driver[1])}: {BUILDS}"
        return Finding("torch", f"{facts.torch}, built without CUDA", do)
    state = f"{facts.torch}, built for CUDA {facts.torch_cuda}"
    if facts.driver is not None and not facts.gpus:
        hidden = (
            f"CUDA_VISIBLE_DEVICES is '{facts.visible}'"
            if facts.visible is not None
            else "no device is visible"
        )
        return Finding(
            "torch", f"{state}, sees no GPU", f"{hidden}: unset it, or start the container with its GPUs"
        )
    return Finding("torch", state)


def _gpu(facts: Facts, index: int) -> Finding:
    name, capability = facts.gpus[index]
    state = f"{name}, compute capability {_dotted(capability)}"
    if not any(_runs_on(arch, capability) for arch in facts.archs):
        return Finding(
            f"GPU {index}", state, f"this torch has no kernels for it: take another build from {BUILDS}"
        )
    if capability < HALVES:
        return Finding(f"GPU {index}", f"{state}, no bfloat16", "run bfloat16 models with --dtype float16")
    return Finding(f"GPU {index}", state)


def _several(facts: Facts) -> Iterator[Finding]:
    if len(facts.gpus) > 1:
        yield Finding(
            "several GPUs",
            f"a target is spread over all {len(facts.gpus)} with accelerate {facts.accelerate}"
            if facts.accelerate
            else "a target has to fit on one of them",
            "" if facts.accelerate else MULTI_GPU,
        )


def _attention(facts: Facts) -> Finding:
    if facts.gpus:
        return Finding(
            "attention", "sdpa; a tree needs a mask, which flash attention does not take: torch's memory-efficient "
            "or cuDNN kernel, whichever is faster for its size; flash attention for prompts in half precision"
        )  # fmt: skip
    return Finding("attention", "sdpa, query heads of a group as rows of one head (no copy of the cache)")


def _linears(facts: Facts) -> Finding:
    if facts.gpus:
        return Finding("linear layers", "cuBLAS, one product for several of a layer")
    if facts.packs:
        return Finding(
            "linear layers", "packed once; half-precision weights stay so where the CPU can multiply them"
        )
    return Finding(
        "linear layers", "packed again at every call", "take torch from pip: this build lacks oneDNN"
    )


def _forwards(facts: Facts) -> Finding:
    if not facts.fixed_sizes:
        return Finding("forwards", "of any size, one kernel after the other")
    if not facts.gpus:
        return Finding(
            "forwards",
            "of fixed sizes; only a GPU captures them",
            "unset SPECTUI_STATIC: padding costs a CPU",
        )
    if not facts.captures:
        return Finding("forwards", "of fixed sizes, not captured", f"unset {CAPTURE_SWITCH}")
    return Finding("forwards", "of fixed sizes, captured as CUDA graphs")


def _gptq(facts: Facts) -> Finding:
    missing = [name for name in GPTQ_PACKAGES if not getattr(facts, name)]
    if missing:
        return Finding("GPTQ", f"cannot be loaded: {' and '.join(missing)} missing", INSTALL_GPTQ)
    state = f"gptqmodel {facts.gptqmodel}, optimum {facts.optimum}"
    if not facts.gpus:
        return Finding("GPTQ", f"{state}; torch's own kernels on the CPU")
    if not facts.nvcc:
        return Finding(
            "GPTQ", f"{state}; no nvcc, with which it compiles its fastest kernels when it first needs them",
            "install the CUDA toolkit, or set CUDA_HOME to it",
        )  # fmt: skip
    return Finding("GPTQ", f"{state}; compiles its CUDA kernels when it first needs them")


def _runs_on(arch: str, capability: Sequence[int]) -> bool:
    """True when code compiled for `arch` runs on a device: sm_86 on 8.6 and 8.9, compute_90 on all later ones."""
    kind, _, digits = arch.rstrip("af").partition("_")
    if not digits.isdigit():
        return False
    built = (int(digits[:-1]), int(digits[-1]))
    device = (capability[0], capability[1])
    return built <= device and (kind == "compute" or built[0] == device[0])


def _dotted(numbers: Sequence[int]) -> str:
    return ".".join(map(str, numbers))


def package_version(name: str) -> str:
    """The version of an installed package; "" where it is missing."""
    try:
        return version(name) if find_spec(name) is not None else ""
    except PackageNotFoundError:
        return ""
