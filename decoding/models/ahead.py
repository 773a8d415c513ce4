"""Packing a small model's weights while Python still imports: importing takes one core and packing seconds.

What is packed ahead is found again by its content, and compared whole with what was loaded: whoever packs a
layer neither knows nor has to trust that some weights are ready.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

MOST_BYTES = 1 << 30
"""Of a weight file: what is packed ahead is in memory twice until it is taken."""
WEIGHTS = "model.safetensors"
LAYER = "model.layers.{}."
SIDE_BY_SIDE = (
    ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    ("self_attn.o_proj",),
    ("mlp.gate_proj", "mlp.up_proj"),
    ("mlp.down_proj",),
)
"""Which linear layers of a Llama layer `decoding.target.lean` makes one."""
OUTPUT = ("lm_head.weight", "model.embed_tokens.weight")
"""The first there is: tied ones are saved once."""


@dataclass(frozen=True)
class _Job:
    parts: list[torch.Tensor]
    """Halves, as they lie in the file."""
    packed: Future[Any]

    def holds(self, weight: torch.Tensor) -> bool:
        """Whether this is `weight` ``[outputs, inputs]``, every number of it."""
        pieces = torch.split(weight, [len(part) for part in self.parts])
        return all(torch.equal(part.float(), piece) for part, piece in zip(self.parts, pieces, strict=True))


_Key = tuple[int, int, bytes]
_jobs: dict[_Key, _Job] = {}


def pack_ahead(folder: Path) -> int:
    """Begin to pack the weights of the model in `folder`, in a thread; returns how many matrices.

    None where they are not the halves of a small Llama, in one file.
    """
    try:
        if (folder / WEIGHTS).stat().st_size > MOST_BYTES:
            return 0
        with safe_open(folder / WEIGHTS, framework="pt") as file:
            matrices = list(_matrices(file))
    except (OSError, SafetensorError):
        return 0  # loading will say what is wrong
    pool = ThreadPoolExecutor(1, "pack-ahead")
    for parts in matrices:
        _jobs[_key(sum(map(len, parts)), parts[0])] = _Job(parts, pool.submit(_pack, parts))
    pool.shutdown(wait=False)
    return len(matrices)


def take(weight: torch.Tensor) -> Any | None:
    """`weight` ``[outputs, inputs]``, float32, as `HalfLinear` holds it, if it was begun ahead."""
    job = _jobs.pop(_key(len(weight), weight), None) if _jobs else None
    if job is None or job.packed.cancel() or not job.holds(weight):
        return None
    return job.packed.result()


def forget() -> None:
    """Give back what nobody took."""
    while _jobs:
        _jobs.popitem()[1].packed.cancel()


def _matrices(file: Any) -> Iterator[list[torch.Tensor]]:
    """What is to be packed, the parts of each; the largest first."""
    names = set(file.keys())
    groups = [[next((name for name in OUTPUT if name in names), "")]]
    layer = 0
    while LAYER.format(layer) + "self_attn.q_proj.weight" in names:
        groups += [[f"{LAYER.format(layer)}{name}.weight" for name in group] for group in SIDE_BY_SIDE]
        layer += 1
    for group in groups if layer else ():
        if names.issuperset(group):
            parts = [file.get_tensor(name) for name in group]
            if all(part.dtype == torch.float16 and part.dim() == 2 for part in parts):
                yield parts


def _pack(parts: list[torch.Tensor]) -> Any:
    return torch.ops.quantized.linear_prepack_fp16(torch.cat([part.float() for part in parts]), None)


def _key(rows: int, first: torch.Tensor) -> _Key:
    """Of a matrix with so many rows, the first of which are `first`."""
    return rows, first.shape[1], first[0].half().numpy().tobytes()
