"""Protects the kit for GPU machines without a registry: it brings what torch and transformers do not, and no more."""

from __future__ import annotations

import pytest

from tests.bench import gpu_kit
from tests.bench.gpu_kit import CHOSEN_THERE, NOTE, THERE, floors, needed
from tests.docs.documents import ROOT

PACKAGES = {
    "torch": {"requires_dist": ["filelock", "triton; platform_system == 'Linux'", "pywin32; sys_platform == 'win32'"]},
    "transformers": {"requires_dist": ["typer", "httpx[http2]", "pytest; extra == 'testing'"]},
    "textual": {"requires_dist": ["rich>=14", "markdown-it-py[linkify]"]},
    "markdown-it-py": {"requires_dist": ["mdurl", "linkify-it-py; extra == 'linkify'"]},
    "typer": {"requires_dist": ["rich"]}, "rich": {"requires_dist": ["markdown-it-py"]},
    "httpx": {"requires_dist": ["h2; extra == 'http2'", "h11"]},
    **{name: {} for name in ("filelock", "triton", "pywin32", "pytest", "mdurl", "linkify-it-py", "h2", "h11")},
}  # fmt: skip
LINUX = {"sys_platform": "linux", "platform_system": "Linux", "python_version": "3.12"}


def test_what_torch_and_transformers_bring_is_not_carried() -> None:
    there = needed(["torch", "transformers"], PACKAGES, LINUX)
    assert there == {"torch", "filelock", "triton", "transformers", "typer", "httpx", "h2", "h11", "rich",
                     "markdown-it-py", "mdurl"}  # fmt: skip
    # An extra that only our requirements ask for is lacking there, though its package is not.
    assert needed(["textual"], PACKAGES, LINUX) - there == {"textual", "linkify-it-py"}


def test_floors_and_tested_versions_come_from_the_projects_files() -> None:
    lowest = floors()
    assert (lowest["torch"], lowest["transformers"]) == ("2.11", "5.17")
    assert all(version[0].isdigit() for version in lowest.values())
    assert set(THERE) <= set(lowest)
    assert set(lowest) - set(CHOSEN_THERE) - set(THERE) <= set(gpu_kit.tested())


def test_the_documents_say_what_the_kit_says() -> None:
    page = (ROOT / "docs" / "how-to" / "gpu.md").read_text(encoding="utf-8")
    note = NOTE.format(python="3.12", machine="x86_64", there="", out=gpu_kit.OUT)
    lines = [line.strip() for line in note.splitlines() if line.startswith("    ")]
    assert len(lines) == 4
    assert all(line in page for line in lines[:2]), lines


@pytest.mark.parametrize("option", ["--lowest", "--print-there", "--python", "--machine", "--out"])
def test_the_makefile_uses_options_that_exist(option: str, capsys: pytest.CaptureFixture[str],
                                              monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr("sys.argv", ["gpu_kit", "--help"])
    with pytest.raises(SystemExit):
        gpu_kit.main()
    assert option in capsys.readouterr().out
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert option in makefile
