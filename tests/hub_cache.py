"""A cache of the hub's client, filled with small models: a target, drafts for it and for another, half of a model."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from huggingface_hub import constants

from spectui.decoding.eagle.checkpoint import save_head
from tests.heads import save_block_head, tiny_block_head, tiny_head
from tests.models import tiny_llama, tiny_tokenizer


def cached(cache: Path, name: str, made: Path, revision: str = "main") -> Path:
    """Put the folder `made` into a cache as the hub's client lays it out."""
    repository = cache / f"models--{name.replace('/', '--')}"
    commit = "c" * 40
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / revision).write_text(commit)
    (repository / "snapshots").mkdir()
    return Path(shutil.move(made, repository / "snapshots" / commit))


def fill_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use such a cache in `tmp_path`, here and in children; the embedded model is not there."""
    cache, made = tmp_path / "hub", tmp_path / "made"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setenv("HF_HUB_CACHE", str(cache))
    monkeypatch.setenv("SPECTUI_CACHE", str(tmp_path / "cache"))
    target = tiny_llama(made, layers=3)
    cached(cache, "a/target", made)
    tiny_llama(made, layers=1)
    cached(cache, "a/small", made)
    tiny_llama(made, layers=1, tokenizer=tiny_tokenizer(extra="quite other words, quite other merges"))
    cached(cache, "a/stranger", made)
    save_head(tiny_head(target), made, target_name="a/target")
    cached(cache, "a/eagle", made)
    save_block_head(tiny_block_head(target), made)
    cached(cache, "a/dflash", made, revision="v2")
    wide = tiny_llama(layers=3, hidden=64)
    save_block_head(tiny_block_head(wide), made)
    cached(cache, "a/for-another", made)
    tiny_llama(made, layers=1)
    (made / "model.safetensors").unlink()
    cached(cache, "a/half", made)
