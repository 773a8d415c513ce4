"""``make gpu-kit``: the wheels that a GPU machine without a registry lacks, in a folder to take there.

The machine has torch and transformers with all that these need. pip resolves the requirements of `pyproject.toml`
beside its versions of them; what neither of the two brings is fetched. With the wheels lie a link by which the checkout
can be imported, and a note that says the two lines to run there. ``make test-floor`` runs them in an environment of
its own, with every package in the lowest version that `pyproject.toml` allows.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
OUT = Path("build/gpu-kit")
THERE = ("torch", "transformers", "scipy", "pip")
"""Packages that images for GPUs have, with all that they need."""
CHOSEN_THERE = ("torch", "transformers", "tokenizers", "huggingface-hub", "safetensors", "numpy", "scipy")
"""Packages whose versions are that machine's, whatever `constraints.txt` says."""
GLIBC = range(5, 35)
"""Minor versions of wheels that a machine with glibc 2.34 takes."""
NOTE = """spectui on a GPU machine without a registry: Python {python}, Linux {machine}, beside {there}.

In the checkout, with this folder at {out}:

    python3 -m pip install --no-index --no-deps --target {out}/site {out}/wheels/*.whl
    export PYTHONPATH=$PWD/{out}/site:$PWD/{out}/src

Then, for example:

    python3 -m tests.bench.gpu_check --budget 400
    python3 -m spectui.tui run --target DIR --draft DIR2 --per-task 1 --headless
"""


def floors() -> dict[str, str]:
    """The lowest version of every requirement of `pyproject.toml`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lowest = (each.split(">=") for each in project["dependencies"])
    return {canonicalize_name(name): version for name, version in lowest}


def tested() -> dict[str, str]:
    """The versions of `constraints.txt`, without those that the machine has chosen."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = (line.split("==") for line in lines if "==" in line)
    return {name: version for name, version in pins if canonicalize_name(name) not in CHOSEN_THERE}


def resolve(pins: Mapping[str, str], there: Sequence[str], target: Sequence[str]) -> dict[str, Any]:
    """The metadata of all that pip would install, by name. Raises `CalledProcessError` with what pip says."""
    with tempfile.TemporaryDirectory() as folder:
        constraints, report = Path(folder) / "constraints.txt", Path(folder) / "report.json"
        lines = (f"{name}=={version}\n" for name, version in pins.items() if name != "pip")
        constraints.write_text("".join(lines), encoding="utf-8")
        command = [*_pip("install"), "--dry-run", "--ignore-installed", "--report", str(report)]
        command += ["--target", folder, "-c", str(constraints), *target]
        subprocess.run(
            [*command, *(f"{name}>={version}" for name, version in floors().items()), *there], check=True
        )
        installed = json.loads(report.read_text(encoding="utf-8"))["install"]
    return {canonicalize_name(each["metadata"]["name"]): each["metadata"] for each in installed}


def needed(roots: Iterable[str], packages: Mapping[str, Any], surroundings: Mapping[str, str]) -> set[str]:
    """Those of `packages` that `roots` need, themselves included."""
    out: set[tuple[str, str]] = set()
    waiting = [Requirement(root) for root in roots]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        for extra in ("", *requirement.extras):
            if name in packages and (name, extra) not in out:
                out.add((name, extra))
                below = map(Requirement, packages[name].get("requires_dist", ()))
                values = {**surroundings, "extra": extra}
                waiting += [each for each in below if each.marker is None or each.marker.evaluate(values)]
    return {name for name, _ in out}


def _pip(verb: str) -> list[str]:
    return [sys.executable, "-m", "pip", verb, "--quiet", "--disable-pip-version-check"]


def main() -> int:
    """Make the folder anew."""
    parser = argparse.ArgumentParser(prog="make gpu-kit", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--python", default="3.12", help="of that machine (default: %(default)s)")
    parser.add_argument("--machine", default="x86_64", help="its processor (default: %(default)s)")
    parser.add_argument(
        "--lowest", action="store_true", help="the lowest versions that pyproject.toml allows"
    )
    parser.add_argument(
        "--print-there", action="store_true", help="print the packages that it has, and do nothing else"
    )
    parser.add_argument("--out", type=Path, default=OUT, help="(default: %(default)s)")
    arguments = parser.parse_args()
    lowest = floors()
    python, machine, out = arguments.python, arguments.machine, arguments.out
    there = [f"{name}=={lowest[name]}" for name in CHOSEN_THERE if name in lowest]
    if arguments.print_there:
        print(*there)
        return 0
    surroundings = {
        "python_version": python, "python_full_version": f"{python}.0", "platform_machine": machine,
        "sys_platform": "linux", "platform_system": "Linux", "os_name": "posix",
    }  # fmt: skip
    platforms = [*(f"manylinux_2_{minor}" for minor in GLIBC), "manylinux2014", "manylinux2010", "manylinux1"]
    target = ["--only-binary=:all:", "--python-version", python, "--implementation", "cp"]
    target += [part for each in platforms for part in ("--platform", f"{each}_{machine}")]
    beside = [each for each in there if arguments.lowest or each.startswith(("torch", "transformers"))]
    packages = resolve(lowest if arguments.lowest else tested(), beside, target)
    lacking = sorted(set(packages) - needed(THERE, packages, surroundings))
    if out.exists():
        shutil.rmtree(out)
    wheels_folder: Path = out / "wheels"
    wheels_folder.mkdir(parents=True)
    exactly = [f"{name}=={packages[name]['version']}" for name in lacking]
    subprocess.run(
        [*_pip("download"), "--no-deps", "--dest", str(wheels_folder), *target, *exactly], check=True
    )
    wheels = sorted(wheels_folder.glob("*.whl"))
    (out / "src").mkdir()
    inside = out.resolve().is_relative_to(ROOT)
    up = "/".join([".."] * (len(out.resolve().relative_to(ROOT).parts) + 1)) if inside else ROOT
    (out / "src" / "spectui").symlink_to(up)
    note = NOTE.format(python=python, machine=machine, there=" ".join(beside), out=out)
    (out / "README.txt").write_text(note, encoding="utf-8")
    size = sum(wheel.stat().st_size for wheel in wheels)
    print(f"{out}: {len(wheels)} wheels, {size / 1e6:.1f} MB; {out / 'README.txt'} says what to run there")
    return 0


if __name__ == "__main__":
    sys.exit(main())
