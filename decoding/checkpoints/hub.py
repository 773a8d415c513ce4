"""Models on the Hugging Face hub: fetched whole into its cache, then used as any folder.

Where the hub cannot be asked, or is switched off (``HF_HUB_OFFLINE=1``), what the cache has is used.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from huggingface_hub import constants, get_safetensors_metadata, get_token, list_repo_files, snapshot_download
from huggingface_hub.errors import (
    DryRunError,
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    IncompleteSnapshotError,
    LocalEntryNotFoundError,
    NotASafetensorsRepoError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from tqdm import tqdm  # type: ignore[import-untyped,unused-ignore]

from spectui.decoding.checkpoints.weight_files import PICKLED as PICKLED_NAMES
from spectui.decoding.checkpoints.weight_files import PICKLED_WORDS, Tensor, missing_shards
from spectui.decoding.config import EMBEDDED_TARGET
from spectui.decoding.errors import DecodingError
from spectui.store.paths import expanded

Progress = Callable[[str, float | None, float | None, str], None]
"""Called as ``progress(stage, done, total, unit)``; None where an extent is not known."""

SMALL = ["*.json", "*.model", "*.txt", "*.jinja"]
"""Files that say what a model is, and its tokenizer."""
SAFE = ["*.safetensors"]
PICKLED = ["*.bin", "*.pt", "*.pth"]
ASIDE = ["original/*", "consolidated*", "onnx/*", "*/*"]
"""The same weights once more, in other layouts; what is loaded lies at the top."""

_FAILURES = (OSError, ValueError, HfHubHTTPError, DryRunError)


def split_revision(name: str) -> tuple[str, str | None]:
    """``MODEL@REVISION`` in its parts. A folder may have an ``@`` in its name, a model id may not."""
    if expanded(name).is_dir() or name.startswith((".", "/", "~")):
        return name, None
    model, _, revision = name.partition("@")
    return model, revision or None


def is_id(name: str) -> bool:
    """True when `name` is that of a model on the hub rather than of a folder or of the embedded model."""
    return name != EMBEDDED_TARGET and not expanded(name).is_dir()


def fetch(name: str, progress: Progress, *, pickled: bool = False) -> Path:
    """The folder of ``MODEL`` or ``MODEL@REVISION``, complete, its weights in safetensors files.

    `pickled` takes weights in pickle files too where there are no others. Raises `DecodingError` in one line.
    """
    folder = fetch_description(name)
    model, revision = split_revision(name)
    bar = _reporting(f"downloading {model}", progress)

    def download(weights: list[str]) -> None:
        patterns = [*SMALL, *weights]
        snapshot_download(
            model, revision=revision, allow_patterns=patterns, ignore_patterns=ASIDE, tqdm_class=bar
        )

    try:
        if not any(folder.glob("*.safetensors")) or missing_shards(folder):
            download(SAFE)
        if pickled and not any(folder.glob("*.safetensors")):
            download(PICKLED)
    except _FAILURES as error:
        raise DecodingError(explain_hub_error(name, error)) from error
    return folder


def fetch_description(name: str) -> Path:
    """A folder with the files that say what the model is; its weights may not be there yet."""
    model, revision = split_revision(name)
    try:
        return Path(
            snapshot_download(
                model, revision=revision, allow_patterns=SMALL, ignore_patterns=ASIDE, tqdm_class=_Silent
            )
        )
    except _FAILURES as error:
        raise DecodingError(explain_hub_error(name, error)) from error


def remote_tensors(name: str) -> list[Tensor]:
    """Every tensor of a model on the hub, from its files' headers alone.

    Raises `DecodingError` as `fetch` does, and where it has no safetensors files.
    """
    model, revision = split_revision(name)
    try:
        metadata = get_safetensors_metadata(model, revision=revision)
    except NotASafetensorsRepoError as error:
        refuse_pickles(name)
        raise DecodingError(f"model '{name}' has no safetensors files on the hub; choose another") from error
    except _FAILURES as error:
        raise DecodingError(explain_hub_error(name, error)) from error
    return [
        Tensor(tensor, info.dtype, info.data_offsets[1] - info.data_offsets[0])
        for file in metadata.files_metadata.values()
        for tensor, info in file.tensors.items()
    ]


def refuse_pickles(name: str) -> None:
    """Raise `DecodingError` where a model's weights on the hub are pickled."""
    if any(file in PICKLED_NAMES for file in _files(name)):
        raise DecodingError(f"model '{name}' has {PICKLED_WORDS}")


def _files(name: str) -> list[str]:
    model, revision = split_revision(name)
    try:
        return list(list_repo_files(model, revision=revision))
    except _FAILURES as error:
        raise DecodingError(explain_hub_error(name, error)) from error


def explain_hub_error(name: str, error: Exception) -> str:
    """One line: the reason for which a model of the hub is not there, and what to do."""
    model, revision = split_revision(name)
    reason = " ".join(str(error).split())
    if isinstance(error, GatedRepoError):
        page = f"{constants.ENDPOINT}/{model}"
        if get_token() is None:
            return f"model '{model}' is gated: accept its terms at {page}, then log in with: hf auth login"
        return f"model '{model}' is gated and your token has no access to it: accept its terms at {page}"
    if isinstance(error, RevisionNotFoundError):
        asked = revision or constants.DEFAULT_REVISION
        return f"model '{model}' has no revision '{asked}'; give a branch, tag or commit"
    if isinstance(error, RepositoryNotFoundError):
        private = "" if get_token() else ", or it is private: log in with: hf auth login"
        known = f"a hub id, a local folder, or '{EMBEDDED_TARGET}'"
        return f"model '{model}' is not on the hub{private}; give {known}"
    if isinstance(error, IncompleteSnapshotError):
        return (
            f"model '{model}' was fetched only in part and the hub can't be reached; go online and try again"
        )
    if isinstance(error, HFValidationError):
        return f"'{name}' is no model: give a hub id, a local folder, or '{EMBEDDED_TARGET}'"
    if constants.HF_HUB_OFFLINE:
        return (
            f"model '{name}' is not in the local cache and HF_HUB_OFFLINE is set; unset it or give a folder"
        )
    if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
        return f"model '{model}' lacks a file it needs: {reason[:200]}"
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return f"model '{model}' is private or needs another token: log in with: hf auth login"
    if isinstance(error, OSError) and error.errno == 28:
        return (
            f"the disk is full while fetching '{model}'; make room in {constants.HF_HUB_CACHE} or set HF_HOME"
        )
    if isinstance(error, LocalEntryNotFoundError) or status is not None or isinstance(error, OSError):
        return f"model '{name}' is neither a folder nor cached here, and the model hub can't be reached; give a folder"
    return f"model '{name}' cannot be fetched: {reason[:300]}"


class _Silent(tqdm):  # type: ignore[misc,unused-ignore]
    """A progress bar that shows nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.pop("name", None)
        super().__init__(*args, **{**kwargs, "disable": True})


def _reporting(stage: str, progress: Progress) -> type[_Silent]:
    """A progress bar that tells `progress` the bytes that have arrived."""

    class Bar(_Silent):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.bytes = kwargs.get("unit") == "B" and kwargs.get("desc", "").startswith("Reconstruct")
            self.got = 0.0

        def update(self, n: float | None = 1) -> bool | None:
            if self.bytes:
                self.got += n or 0
                progress(stage, self.got, float(self.total or 0) or None, "bytes")
            return None

    return Bar
