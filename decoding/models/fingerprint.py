"""Fingerprints of model files, versions and the device, compared when a session is resumed."""

from __future__ import annotations

import hashlib
from pathlib import Path

from spectui.decoding.config import EMBEDDED_TARGET, RunConfig
from spectui.decoding.drafters.kind import Weights
from spectui.store.merging.basis import Basis as Basis
from spectui.store.merging.basis import differences as differences
from spectui.store.paths import expanded

ENDINGS = (".safetensors", ".bin", ".json", ".model", ".txt", ".jinja", ".py")
"""Files of a model folder that can change its output."""
IGNORED = ("profile.json",)
"""Files of such endings that cannot: the tree that a profile chooses is in the session's configuration."""

WHOLE_BYTES = 32 << 20
"""Files up to this size are read whole; of larger ones `BLOCKS` blocks, spread evenly, the first and last included.
Training changes every tensor and is always noticed; a few patched bytes may not be."""
BLOCKS = 256
BLOCK_BYTES = 1 << 16


def model_files(config: RunConfig) -> dict[str, dict[str, str]]:
    """Digests of the files of the target and, where the drafter has weights, of the draft.

    Fetches nothing: a model that is not here yet has no files.
    """
    folders = {"target": _folder(config.target)}
    if config.speculate and config.kind.weights is not None:
        folders["draft"] = _draft_folder(config.base_draft, config.kind.weights, folders["target"])
    return {
        role: {path.name: digest(path) for path in _files(folder)}
        for role, folder in folders.items()
        if folder is not None and folder.is_dir()  # else it is still to be fetched
    }


def _draft_folder(name: str, weights: Weights, target: Path | None) -> Path | None:
    """The folder that the weights of a drafter were loaded from."""
    if weights.home is None:
        return _folder(name)
    return None if target is None else weights.home(target)


def _folder(name: str) -> Path | None:
    """The folder that a `target` or `draft` value was loaded from; None without one."""
    from transformers.utils.hub import cached_file

    from spectui.decoding.checkpoints import embedded
    from spectui.decoding.checkpoints.hub import split_revision

    if name == EMBEDDED_TARGET:
        return embedded.folder()
    path = expanded(name)
    if path.is_dir():
        return path
    model, revision = split_revision(name)
    try:
        config = cached_file(model, "config.json", revision=revision, local_files_only=True)
    except (OSError, ValueError):
        return None
    return None if config is None else Path(config).parent


def _files(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix in ENDINGS and path.name not in IGNORED and path.is_file()
    )


def digest(path: Path) -> str:
    """The digest of a file's size and content, of a large one in part (`WHOLE_BYTES`)."""
    size = path.stat().st_size
    sha = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        if size <= WHOLE_BYTES:
            sha.update(file.read())
        else:
            for block in range(BLOCKS):
                file.seek((size - BLOCK_BYTES) * block // (BLOCKS - 1))
                sha.update(file.read(BLOCK_BYTES))
    return sha.hexdigest()[:16]
