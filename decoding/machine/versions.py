"""The versions of this program and of what it decodes with. Torch-free: the command line says its own, too."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

UNINSTALLED = "0+tree"
"""Version of a checkout that runs by `PYTHONPATH`, as on a machine to which nothing can be installed."""


def own_version() -> str:
    """The installed version of spectui, or `UNINSTALLED`."""
    try:
        return version("spectui")
    except PackageNotFoundError:
        return UNINSTALLED


def run_versions() -> dict[str, str]:
    """The versions that the outputs of a run depend on; imports none of the packages."""
    libraries = {name: version(name) for name in ("torch", "transformers")}
    return {"python": platform.python_version(), "spectui": own_version(), **libraries}
