"""Parts of the site that are made from the code, as an mkdocs hook: `<!-- generated: NAME -->` on a page is replaced.

A page so never repeats what a command, a key or a setting says of itself. `mkdocs.yml` names this file; the tests
beside it call the same functions.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).resolve().parents[2]
MARK = re.compile(r"^<!-- generated: (\w+) -->$", re.MULTILINE)
PARSERS = {"bench": "spectui.decoding.bench.__main__", "distill": "spectui.decoding.distill.__main__"}
"""Commands whose options `argparse` reads -> the module that has their parser."""
SHARED = ("db", "debug", "help", "show_help")
"""Options of every command, listed with `spectui` alone."""
PAGES = {"contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}
"""Pages of the site -> files at the top of the checkout that they are."""


def command_line() -> str:
    """Every command with its usage, its words and its options."""
    from spectui.tui.cli import main

    return "\n\n".join(_command(main, "spectui", None))


def _command(command: click.Command, name: str, parent: click.Context | None) -> Iterator[str]:
    context = click.Context(command, info_name=name, parent=parent)
    yield f"## {context.command_path}"
    if name in PARSERS:
        parser: argparse.ArgumentParser = import_module(PARSERS[name]).parser()
        yield _code(parser.format_usage().removeprefix("usage: "))
        yield _paragraphs(parser.description or "")
        yield _options((_argument(action), action.help or "") for action in parser._actions)
        return
    yield _code(" ".join([context.command_path, *command.collect_usage_pieces(context)]))
    yield _paragraphs(command.help or "")
    parameters = [p for p in command.get_params(context) if parent is None or p.name not in SHARED]
    records = (parameter.get_help_record(context) for parameter in parameters)
    yield _options(record for record in records if record)
    if isinstance(command, click.Group):
        for each in command.list_commands(context):
            child = command.get_command(context, each)
            assert child is not None
            yield from _command(child, each, context)


def _argument(action: argparse.Action) -> str:
    names = ", ".join(action.option_strings)
    takes_value = action.nargs != 0
    return f"{names} {action.metavar or action.dest.upper()}" if takes_value else names


def _options(records: Iterator[tuple[str, str]]) -> str:
    rows = [f"| `{_cell(names)}` | {_cell(_plain(words))} |" for names, words in records]
    return "\n".join(["| option | |", "|---|---|", *rows]) if rows else ""


def _paragraphs(words: str) -> str:
    return "\n\n".join(" ".join(part.split()) for part in _plain(words).split("\n\n"))


def keys() -> str:
    """A table of keys for each screen, as the help has them; then those of dialogs and widgets."""
    from spectui.tui.navigation import DESTINATIONS, areas

    titles = {area: place.title for area, place in DESTINATIONS.items() if place.title} | {
        "app": "Everywhere"
    }
    others = {area: f"{area} (a dialog or a widget)" for area in areas() if area not in titles}
    return "\n\n".join(_keys(area, title) for area, title in {**titles, **others}.items())


def _keys(area: str, title: str) -> str:
    from spectui.tui.navigation import areas
    from spectui.tui.navigation.keymap import key_text, name_of

    rows = []
    for key in areas()[area]:
        if key.area != "app":
            shown = " ".join(f"`{_cell(each)}`" for each in key_text(key, area).split(" "))
            words = _cell(_plain(key.words))
            names = [name_of(binding) for binding in key.bindings if key.area != "textual"]
            places = [f"`{key.area}.{name}`" if key.area else f"`{name}`" for name in dict.fromkeys(names)]
            rows.append(f"| {shown} | {words} | {' '.join(places)} |")
    return "\n".join([f"## {title}", "", f"| key | does | in `[keys.{area}]` |", "|---|---|---|", *rows])


def settings_file() -> str:
    """The file that `spectui config init` writes."""
    from spectui.tui.cli.commands.config import template

    return f"```toml\n{template()}```"


def public_names() -> str:
    """A table of the names that each package exports, with the first line of what they say of themselves."""
    parts = []
    for package in ("decoding", "store", "prompts"):
        module = import_module(f"spectui.{package}")
        rows = []
        for name in module.__all__:
            exported = getattr(module, name)
            words = (exported.__doc__ or "") if callable(exported) else ""
            rows.append(f"| `{name}` | {_cell(_plain(words.strip().partition(chr(10))[0]))} |")
        parts.append("\n".join([f"## spectui.{package}", "", "| name | |", "|---|---|", *rows]))
    return "\n\n".join(parts)


PARTS: dict[str, Callable[[], str]] = {
    "command_line": command_line,
    "keys": keys,
    "public_names": public_names,
    "settings_file": settings_file,
}


def filled_in(page: str) -> str:
    """The text of a page with its marks replaced."""
    return MARK.sub(lambda mark: PARTS[mark[1]](), page)


def _plain(words: str) -> str:
    """Help texts and docstrings without what Markdown or HTML would take for its own; code in backticks stays."""
    parts = words.replace("\b\n", "").replace("``", "`").split("`")
    parts[::2] = [re.sub(r"([\\*_\[])", r"\\\1", part).replace("<", "&lt;") for part in parts[::2]]
    return "`".join(parts)


def _cell(words: str) -> str:
    return " ".join(words.split()).replace("|", "\\|")


def _code(words: str) -> str:
    return f"```text\n{' '.join(words.split())}\n```"


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Called by mkdocs with the text of each page."""
    up = "../" * page.file.src_uri.count("/")
    for name, file in PAGES.items():
        markdown = markdown.replace(f"]({up}../{file}", f"]({up}{name}")
    return filled_in(markdown)


def on_files(files: Any, config: Any, **_: Any) -> Any:
    """Called by mkdocs with all files: adds the pages that lie at the top of the checkout."""
    from mkdocs.structure.files import File

    def on_site(link: re.Match[str]) -> str:
        """A link to a page, and only the words of a link to any other file of the checkout."""
        words, target = link[1], link[2].removeprefix("docs/")
        page = ROOT / "docs" / target.partition("#")[0]
        return f"[{words}]({target})" if target.startswith(("http", "#")) or page.exists() else words

    for name, file in PAGES.items():
        text = re.sub(r"\[([^\]]+)\]\(([^)\s]+)\)", on_site, (ROOT / file).read_text(encoding="utf-8"))
        files.append(File.generated(config, name, content=text))
    return files
