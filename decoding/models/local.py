"""Models that are on this machine: the embedded one, those in the hub's cache, and those in folders. Torch-free."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spectui.decoding.checkpoints import embedded
from spectui.decoding.checkpoints.foreign import refuse_foreign
from spectui.decoding.checkpoints.weight_files import PICKLED, missing_shards, shards
from spectui.decoding.config import EMBEDDED_TARGET
from spectui.decoding.drafters.kind import DrafterKind
from spectui.decoding.drafters.registry import DRAFT_MODEL, kind_in
from spectui.decoding.errors import DecodingError
from spectui.decoding.heads.config import sizes_read
from spectui.store.files import files_in, sizes
from spectui.store.paths import expanded


@dataclass(frozen=True)
class LocalModel:
    """A model, or weights that draft for one, in a folder of this machine."""

    name: str
    """As ``--target`` and ``--draft`` take it."""
    folder: Path
    kind: DrafterKind
    """`DRAFT_MODEL` for a model that is no other kind of draft."""
    problem: str | None = None
    """Words on what is no model, or only a part of one."""
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def architecture(self) -> str:
        """The class of its configuration, or else its type; "" where it has neither."""
        listed = self.config.get("architectures")
        first = listed[0] if isinstance(listed, list) and listed else self.config.get("model_type")
        return str(first or "")

    @property
    def noun(self) -> str:
        """The kind of its weights with their article; a model that drafts as any other is a model."""
        weights = self.kind.weights
        return weights.noun if weights is not None and self.kind is not DRAFT_MODEL else "a model"

    @property
    def bytes(self) -> int:
        """Bytes of its files."""
        return sum(sizes(files_in(self.folder)))


def local_models(folders: Iterable[Path] = ()) -> list[LocalModel]:
    """The embedded model where it is ready, those in the hub's cache, and those in `folders` or right below them."""
    models = [_model(EMBEDDED_TARGET, embedded.folder())] if embedded.is_ready() else []
    models += [_model(name, folder) for name, folder in _in_cache(_cache())]
    for folder in folders:
        each_of = [folder, *_subfolders(folder)]
        models += [_model(str(each), each) for each in each_of if (each / "config.json").is_file()]
    return models


def drafts_offered(target: str) -> list[str]:
    """Values of ``--draft`` to offer for `target`: heads that read models of its sizes and smaller models of its
    vocabulary, in the hub's cache, in its folder and beside it.

    By configurations alone: a run checks the one that is chosen.
    """
    folder = expanded(target)
    models = local_models([folder, folder.parent] if target and (folder / "config.json").is_file() else [])
    named = next((model for model in models if model.name == target or model.folder == folder), None)
    if named is None or named.problem is not None or (sizes := sizes_read(named.config)) is None:
        return []
    names = []
    for model in models:
        if model.problem is not None or model.folder == named.folder or model.name in names:
            continue
        if model.kind.is_head:
            fits = sizes_read(model.config, head=True) == sizes
        else:
            of_draft = sizes_read(model.config)
            fits = of_draft is not None and of_draft[1] == sizes[1] and model.bytes < named.bytes
        names += [model.name] if fits else []
    return names


def _model(name: str, folder: Path) -> LocalModel:
    try:
        refuse_foreign(name, folder)
        problem = _unfetched(folder)
    except DecodingError as error:
        problem = str(error)
    except OSError as error:
        problem = f"'{name}' cannot be read: {error.strerror}"
    return LocalModel(name, folder, kind_in(folder), problem, _config(folder))


def _unfetched(folder: Path) -> str | None:
    """Words on weights that are missing; None where they are there."""
    if missing := missing_shards(folder):
        return f"is not complete: {missing[0]} is missing"
    if shards(folder) or any((folder / name).is_file() for name in PICKLED):
        return None
    return "has no weights here: only its description was fetched"


def _cache() -> Path:
    from huggingface_hub import constants  # a tenth of a second

    return Path(constants.HF_HUB_CACHE)


def _in_cache(cache: Path) -> Iterator[tuple[str, Path]]:
    """Name and folder of each revision in the cache of the hub, the main one by the name of its model alone."""
    for repository in sorted(cache.glob("models--*")):
        name = repository.name.removeprefix("models--").replace("--", "/")
        refs = {_text(path): path.name for path in sorted((repository / "refs").glob("*"), reverse=True)}
        for snapshot in _subfolders(repository / "snapshots"):
            revision = refs.get(snapshot.name, snapshot.name)
            yield (name if revision == "main" else f"{name}@{revision}"), snapshot


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.is_dir())


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return ""


def _config(folder: Path) -> dict[str, Any]:
    try:
        data = json.loads(_text(folder / "config.json"))
    except (ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}
