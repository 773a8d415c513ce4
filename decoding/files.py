"""Folder in which models and measurements are cached. Torch-free."""

from __future__ import annotations

import os
from pathlib import Path

from spectui.decoding.errors import DecodingError
from spectui.store.errors import StoreError
from spectui.store.paths import expanded, user_folder


def cache_folder() -> Path:
    """``$SPECTUI_CACHE``, or the user's cache directory. Raises `DecodingError` without one."""
    folder = os.environ.get("SPECTUI_CACHE")
    if folder:
        return expanded(folder)
    try:
        return user_folder("cache", "SPECTUI_CACHE")
    except StoreError as error:
        raise DecodingError(str(error)) from error
