"""The settings of a distillation: plain, torch-free data, checked before anything starts."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

from spectui.decoding.config import DEVICES, EMBEDDED_TARGET
from spectui.decoding.errors import UsageError
from spectui.store.files import write_text

SHARE_OF_TIME = {"generate": 0.55, "train": 0.38}
"""Shares of `minutes` that two stages get; the rest is loading and evaluation."""


@dataclass(frozen=True)
class DistillConfig:
    """Settings that decide which head comes out. Raises `UsageError` when a field makes no sense."""

    target: str = EMBEDDED_TARGET
    tokens: int = 1_000_000
    """Response tokens to generate."""
    vocabulary: int = 10_240
    """Draft vocabulary: the most frequent tokens of the responses."""
    epochs: float = 3.0
    """Passes over the responses in training."""
    minutes: float = math.inf
    """Most wall time for everything; text and training end when their share is used up."""
    max_new_tokens: int = 160
    prompt_tokens: int = 224
    """Longest prompt, template included."""
    slots: int = 128
    """Sequences generated at once."""
    batch_tokens: int = 1024
    """Tokens per training step."""
    learning_rate: float = 1.2e-3
    passes: int = 4
    """Depth of training-time test: states of its own in a row that a head learns from."""
    seed: int = 0
    start: str = ""
    """An earlier head to go on training: its folder or hub id, `eagle` for the bundled one; "" for none."""
    device: str = "auto"
    dtype: str = "auto"
    """Of generation and of training's products: `auto` is bfloat16 where the machine multiplies it fast."""

    def __post_init__(self) -> None:
        least = {
            "tokens": 1000, "vocabulary": 16, "epochs": 0.01, "minutes": 0.1, "max_new_tokens": 16,
            "prompt_tokens": 32, "slots": 1, "batch_tokens": 64, "learning_rate": 1e-6, "passes": 1, "seed": 0,
        }  # fmt: skip
        for name, value in least.items():
            if not getattr(self, name) >= value:
                raise UsageError(
                    f"--{name.replace('_', '-')} is {getattr(self, name)}; give at least {value}"
                )
        if self.passes > 8:
            raise UsageError(f"--passes is {self.passes}; more than 8 is not supported")
        if self.device not in DEVICES and not self.device.removeprefix("cuda:").isdecimal():
            raise UsageError(f"--device is '{self.device}'; use auto, cpu, cuda or cuda:N")
        if self.dtype not in ("auto", "float32", "bfloat16"):
            raise UsageError(f"--dtype is '{self.dtype}'; use auto, float32 or bfloat16")

    def save(self, path: Path) -> None:
        """Write as JSON."""
        write_text(path, self.to_json() + "\n")

    def to_json(self) -> str:
        """One JSON object; an endless time is null."""
        return json.dumps({k: (None if v == math.inf else v) for k, v in asdict(self).items()}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> DistillConfig:
        """The inverse of `to_json`."""
        data = json.loads(text)
        if data["minutes"] is None:
            data["minutes"] = math.inf
        return cls(**data)

    def check_continues(self, path: Path) -> None:
        """Raise `UsageError` when `path` was begun with other values of settings that its data depends on."""
        if not path.is_file():
            return
        try:
            begun_with = json.loads(path.read_text("utf-8"))
        except ValueError as error:
            raise UsageError(f"{path} is not readable; give another --work folder") from error
        for name in ("target", "max_new_tokens", "prompt_tokens", "passes", "seed", "dtype"):
            if begun_with.get(name) != getattr(self, name):
                raise UsageError(
                    f"--work {path.parent} was begun with {name} {begun_with.get(name)!r}, not "
                    f"{getattr(self, name)!r}; use the same or another folder"
                )
