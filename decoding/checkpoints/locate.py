"""Finds the folder of a `target` or `draft` value: the embedded model, a local folder, or weights on the hub."""

from __future__ import annotations

from pathlib import Path

from spectui.decoding.checkpoints import embedded, hub
from spectui.decoding.checkpoints.foreign import (
    could_be_eagle1,
    refuse_file,
    refuse_foreign,
    refuse_foreign_on_hub,
)
from spectui.decoding.checkpoints.hub import Progress
from spectui.decoding.checkpoints.weight_files import HEAD_FILES
from spectui.decoding.config import EMBEDDED_TARGET
from spectui.decoding.drafters.registry import default_kind, kind_in, kind_of
from spectui.decoding.errors import DecodingError
from spectui.store.paths import expanded


def locate(name: str, progress: Progress, *, weights: bool = True, allow_pickle: bool = False) -> Path:
    """The folder of `name`: ``embedded``, a folder, or ``MODEL[@REVISION]`` on the hub, fetched when needed.

    Without `weights` only the small files of a model on the hub are fetched, unless its weights alone tell what it is.
    Raises `DecodingError` in one line.
    """
    if name == EMBEDDED_TARGET:
        return embedded.ensure(progress)
    path = expanded(name)
    if path.is_dir():
        refuse_foreign(name, path)
        return path
    if path.is_file():
        refuse_file(name, path)
    if name.startswith((".", "/", "~")) or name.partition("@")[0].count("/") > 1:
        raise DecodingError(
            f"model folder {name} does not exist; give a folder, a hub id, or '{EMBEDDED_TARGET}'"
        )
    folder = hub.fetch_description(name)
    refuse_foreign_on_hub(name, folder)
    if not (folder / "config.json").is_file():
        raise DecodingError(
            f"'{name}' has no config.json on the hub: it is no model that transformers can load"
        )
    untold = could_be_eagle1(folder)
    if not weights and not untold:
        return folder
    folder = hub.fetch(name, progress, pickled=allow_pickle)
    if (untold or kind_in(folder).is_head) and not any((folder / file).is_file() for file in HEAD_FILES):
        hub.refuse_pickles(name)
        raise DecodingError(f"draft head '{name}' has no {' or '.join(HEAD_FILES)}; choose another head")
    return folder


def locate_draft(
    name: str, target: Path, progress: Progress, *, weights: bool = True, allow_pickle: bool = False
) -> Path:
    """The folder of the weights that ``--draft NAME`` drafts with, beside the located `target`; see `locate`."""
    kind = kind_of(name)
    if kind.weights is None or kind.weights.home is None:
        return locate(name, progress, weights=weights, allow_pickle=allow_pickle)
    folder = kind.weights.home(target)
    if not kind.weights.inside and kind_in(folder) is not kind:
        raise DecodingError(
            f"this installation has no weights for --draft {name}; use --draft {default_kind(embedded=False).name}, or "
            f"a folder with {kind.weights.noun}"
        )
    return folder
