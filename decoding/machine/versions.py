"""The version of this program. Torch-free: the command line says it, too."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

UNINSTALLED = "0+tree"
"""Version of a checkout that runs by `PYTHONPATH`, as on a machine to which nothing can be installed."""


def own_version() -> str:
    """The installed version of spectui, or `UNINSTALLED`."""
    try:
        return version("spectui")
    except PackageNotFoundError:
        return UNINSTALLED
