"""What every room's tests share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def embedded_folder() -> Path:
    """The embedded model, fetched and converted on first use and kept in the user's cache."""
    from decoding import embedded

    return embedded.ensure(lambda *_: None)
