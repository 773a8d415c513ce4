"""Parameters of the methods that the recorder wraps, read from vLLM's source without running it.

``python -m tests.recorder.signatures SITE_PACKAGES_OR_WHEEL ...`` writes signatures.json, by version.
"""

from __future__ import annotations

import ast
import json
import re
import sys
import zipfile
from pathlib import Path

FILE = Path(__file__).with_name("signatures.json")
WRAPPED = {
    "vllm.v1.core.sched.scheduler": (
        "Scheduler.update_from_output",
        "Scheduler.add_request",
        "Scheduler._free_request",
    ),
    "vllm.v1.worker.gpu_model_runner": (
        "GPUModelRunner._sample",
        "GPUModelRunner.propose_draft_token_ids",
    ),
    "vllm.v1.worker.gpu.spec_decode.rejection_sampler": ("RejectionSampler.__call__",),
    "vllm.v1.worker.gpu.sample.batch_shard": ("BatchSharder.shard_sampler_inputs",),
    "vllm.v1.spec_decode.llm_base_proposer": ("SpecDecodeBaseProposer._sample_draft_tokens",),
}


def read(place: Path) -> tuple[str, dict[str, dict[str, str]]]:
    """The version, and module -> method -> its parameters."""
    modules = {}
    for module, wanted in WRAPPED.items():
        tree = ast.parse(_text(place, module.replace(".", "/") + ".py"))
        modules[module] = {
            f"{owner.name}.{method.name}": ", ".join(_parameters(method.args))
            for owner in tree.body
            if isinstance(owner, ast.ClassDef)
            for method in owner.body
            if isinstance(method, ast.FunctionDef) and f"{owner.name}.{method.name}" in wanted
        }
        assert len(modules[module]) == len(wanted), (place, module)
    (version,) = re.findall(
        r"^__version__ = version = '(\d+\.\d+\.\d+)", _text(place, "vllm/_version.py"), re.M
    )
    return version, modules


def _parameters(arguments: ast.arguments) -> list[str]:
    """Names, with ``=None`` where there is a default."""
    names = [argument.arg for argument in arguments.args]
    with_default = len(arguments.defaults)
    return names[: len(names) - with_default] + [
        f"{name}=None" for name in names[len(names) - with_default :]
    ]


def _text(place: Path, name: str) -> str:
    if place.is_dir():
        return (place / name).read_text(encoding="utf-8")
    with zipfile.ZipFile(place) as wheel:
        return wheel.read(name).decode()


if __name__ == "__main__":
    FILE.write_text(
        json.dumps(dict(read(Path(place)) for place in sys.argv[1:]), indent=1) + "\n", encoding="utf-8"
    )
