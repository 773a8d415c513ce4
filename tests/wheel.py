"""The wheel that users install, built of what git knows of this checkout, and of files that are to be added."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tests.sources import ROOT

_BUILD = "import sys; from setuptools.build_meta import build_wheel; print(build_wheel(sys.argv[1]))"


def build_wheel(folder: Path) -> Path:
    """Copy the files to a clean place below a folder and build there."""
    copy, built = folder / "copy", folder / "wheel"
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        if (source := ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy / name)
    done = subprocess.run(
        [sys.executable, "-c", _BUILD, str(built)], cwd=copy, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return built / done.stdout.split()[-1]
