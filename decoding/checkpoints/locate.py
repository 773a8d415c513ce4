"""From a `target` or `draft` value to a folder: the embedded model, local folders, models and heads on the hub."""

from __future__ import annotations

from pathlib import Path

from spectui.decoding.checkpoints import embedded, hub
from spectui.decoding.checkpoints.foreign import refuse_file, refuse_foreign, refuse_foreign_on_hub
from spectui.decoding.checkpoints.head_folder import WEIGHTS, is_eagle_head
from spectui.decoding.checkpoints.hub import Progress
from spectui.decoding.config import EAGLE, EMBEDDED_TARGET
from spectui.decoding.errors import DecodingError
from spectui.store.paths import expanded

EMBEDDED_HEAD = Path(__file__).parents[1] / "eagle" / "smollm2-135m-instruct"
"""The head of the embedded target, part of the package."""


def locate(name: str, progress: Progress, *, weights: bool = True, allow_pickle: bool = False) -> Path:
    """The folder of `name`: ``embedded``, a folder, or ``MODEL[@REVISION]`` on the hub, fetched when needed.

    Without `weights` those of a model on the hub may not be in it yet. Raises `DecodingError` in one line.
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
    if not weights:
        return folder
    folder = hub.fetch(name, progress, pickled=allow_pickle)
    if is_eagle_head(folder) and not any((folder / file).is_file() for file in WEIGHTS):
        hub.refuse_pickles(name)
        raise DecodingError(f"draft head '{name}' has no {' or '.join(WEIGHTS)}; choose another head")
    return folder


def locate_draft(name: str, progress: Progress, *, weights: bool = True, allow_pickle: bool = False) -> Path:
    """As `locate`, for a draft: the embedded target's head is found too."""
    if name != EAGLE:
        return locate(name, progress, weights=weights, allow_pickle=allow_pickle)
    if not is_eagle_head(EMBEDDED_HEAD):
        raise DecodingError(
            "this installation has no draft head for the embedded model; use --draft recycling, or a "
            "folder with an EAGLE-3 head"
        )
    return EMBEDDED_HEAD
