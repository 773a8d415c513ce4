"""The settings of a distillation: plain, torch-free data, checked before anything starts."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

from spectui.decoding.config import A_DEVICE, EMBEDDED_TARGET
from spectui.decoding.drafters.registry import EAGLE, PEAGLE
from spectui.decoding.errors import UsageError
from spectui.decoding.options import Rule, at_least, option, options_of
from spectui.store.files import write_text

SHARE_OF_TIME = {"generate": 0.55, "train": 0.38}
"""Shares of `minutes` that two stages get; the rest is loading and evaluation."""


@dataclass(frozen=True)
class DistillConfig:
    """Settings that decide which head comes out. Raises `UsageError` when a field makes no sense."""

    target: str = option(EMBEDDED_TARGET, "--target", "model id, folder, or 'embedded' (default {default})")
    recipe: str = option(
        EAGLE.name,
        "--recipe",
        "kind of head: eagle (EAGLE-3) drafts one level after the other, peagle (P-EAGLE) all levels in one forward "
        "(default {default})",
        rule=Rule("use eagle or peagle", lambda value: value in (EAGLE.name, PEAGLE.name)),
    )
    layers: int = option(
        1,
        "--layers",
        "decoder layers of the head; those that --start lacks begin without effect (default {default})",
        rule=Rule("give 1 to 8", lambda value: 1 <= value <= 8),
    )
    tokens: int = option(
        1_000_000, "--tokens", "response tokens to generate (default {default})", rule=at_least(1000)
    )
    vocabulary: int = option(
        10_240,
        "--vocabulary",
        "size of the draft vocabulary, the most frequent tokens of the responses (default {default})",
        rule=at_least(16),
    )
    epochs: float = option(3.0, "--epochs", "passes over the text (default {default})", rule=at_least(0.01))
    minutes: float = option(
        math.inf,
        "--minutes",
        "most wall time in all; text and training end when their share is used up (default none)",
        rule=at_least(0.1),
    )
    max_new_tokens: int = option(
        160, "--max-new-tokens", "longest response (default {default})", rule=at_least(16)
    )
    prompt_tokens: int = option(
        224,
        "--prompt-tokens",
        "longest prompt, template included (default {default})",
        rule=at_least(32),
    )
    slots: int = option(
        128, "--slots", "sequences generated at once, per process (default {default})", rule=at_least(1)
    )
    batch_tokens: int = option(
        1024, "--batch-tokens", "tokens per training step (default {default})", rule=at_least(64)
    )
    learning_rate: float = option(
        1.2e-3, "--learning-rate", "peak learning rate (default {default})", rule=at_least(1e-6)
    )
    passes: int = option(
        4,
        "--passes",
        "levels that the head learns to draft: the first from the target's states, the others from its own states or, "
        "with peagle, from none (default {default})",
        rule=Rule("give 1 to 8", lambda value: 1 <= value <= 8),
    )
    seed: int = option(
        0, "--seed", "seed of prompts, sampling and training (default {default})", rule=at_least(0)
    )
    start: str = option(
        "",
        "--start",
        "head to go on training: a folder, a hub id, or 'eagle' for the one that comes with spectui; a P-EAGLE head "
        "begins from either kind (default none)",
    )
    device: str = option("auto", "--device", "auto, cpu, cuda or cuda:N (default {default})", rule=A_DEVICE)
    dtype: str = option(
        "auto",
        "--dtype",
        "auto, float32 or bfloat16 (default {default})",
        rule=Rule("use auto, float32 or bfloat16", lambda value: value in ("auto", "float32", "bfloat16")),
    )
    """Of generation and of training's products: `auto` is bfloat16 where the machine multiplies it fast."""

    def __post_init__(self) -> None:
        for name, declared in options_of(DistillConfig).items():
            declared.check(getattr(self, name))

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
            begun_with = {"recipe": EAGLE.name, "layers": 1} | json.loads(path.read_text("utf-8"))
        except ValueError as error:
            raise UsageError(f"{path} is not readable; give another --work folder") from error
        for name in (
            "target",
            "recipe",
            "layers",
            "max_new_tokens",
            "prompt_tokens",
            "passes",
            "seed",
            "dtype",
        ):
            if begun_with.get(name) != getattr(self, name):
                raise UsageError(
                    f"--work {path.parent} was begun with {name} {begun_with.get(name)!r}, not "
                    f"{getattr(self, name)!r}; use the same or another folder"
                )
