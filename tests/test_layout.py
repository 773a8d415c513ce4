"""Protects the house: folders stay small, every package is installed, and nothing but `spectui` is."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.slow import SLOW
from tests.sources import ROOMS, ROOT
from tests.wheel import build_wheel

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
AT_MOST, AT_ROOT = 20, 15
"""Modules in one folder, and at the root of a package; `__init__` is none."""


def _packages() -> list[Path]:
    """Folders with modules below the rooms, relative to the checkout."""
    return sorted({file.parent.relative_to(ROOT) for room in ROOMS for file in (ROOT / room).rglob("*.py")})


@pytest.mark.parametrize("folder", [*map(str, _packages())])
def test_a_folder_can_be_held_in_the_head(folder: str) -> None:
    modules = [file.name for file in (ROOT / folder).glob("*.py") if file.name != "__init__.py"]
    assert len(modules) <= (AT_ROOT if folder in ROOMS else AT_MOST), modules
    assert (ROOT / folder / "__init__.py").exists()


def test_every_module_is_in_a_room_or_a_test() -> None:
    """A script of somebody's own once stayed beside the README."""
    assert not [file.name for file in ROOT.glob("*.py")]


def test_every_package_is_installed() -> None:
    listed = PROJECT["tool"]["setuptools"]["packages"]
    assert listed == ["spectui." + ".".join(folder.parts) for folder in _packages()]


def test_every_slow_file_is_there() -> None:
    assert not [name for name in SLOW if not (ROOT / "tests" / name).is_file()]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("built"))


def test_a_wheel_puts_nothing_but_spectui_beside_other_packages(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    version = PROJECT["project"]["version"]
    assert {name.split("/")[0] for name in names} == {"spectui", f"spectui-{version}.dist-info"}
    tracked = subprocess.run(
        ["git", "ls-files", *ROOMS], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\n")
    # Data too: prompts, openings, style sheets, the head.
    assert {f"spectui/{name}" for name in tracked if name and (ROOT / name).exists()} <= set(names)
    assert not [name for name in names if name.startswith("spectui/tests")]


def test_what_a_wheel_installs_runs_by_itself(wheel: Path, tmp_path: Path) -> None:
    """In an environment of its own: the installed files, the dependencies, and no checkout."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    # -S leaves out what makes the checkout importable; dependencies come from the same folder by hand.
    dependencies = next(entry for entry in sys.path if Path(entry, "textual").is_dir())
    code = (
        f"import sys; sys.path[:0] = [{str(tmp_path / 'site')!r}, {dependencies!r}]\n"
        "import spectui.decoding.worker.__main__, spectui.tui.app, spectui.prompts as prompts\n"
        "from spectui.tui.cli import main\n"
        "print(len(prompts.bundled()), spectui.tui.app.__file__)\n"
        "sys.argv[1:] = ['--version']; main()"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == f"200 {tmp_path / 'site' / 'spectui' / 'tui' / 'app.py'}"
    assert PROJECT["project"]["version"] in done.stdout
