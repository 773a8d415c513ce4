"""Writes docs/keys.md from the declaration of keys: python -m tests.tui.docs_keys. A test holds both together."""

from __future__ import annotations

from pathlib import Path

from spectui.tui.navigation import DESTINATIONS, areas
from spectui.tui.navigation.key import Key
from spectui.tui.navigation.keymap import key_text, name_of

PAGE = Path(__file__).parents[2] / "docs" / "keys.md"
HEAD = """# Keys

`?` shows this page in the dashboard, `ctrl+p` every command by name. A footer shows the most important keys that it
has room for. Every key can be changed in the [settings](configuration.md): write the name of the action in the last
column into the table of its screen, as in

```toml
[keys.live]
toggle_follow = "f"
```

`spectui config init` writes a file with all of them, those of lists and texts included.

"""


def keys_page() -> str:
    """The page."""
    titles = {area: place.title for area, place in DESTINATIONS.items() if place.title} | {
        "app": "Everywhere"
    }
    parts = [HEAD]
    for area, title in titles.items():
        parts.append(f"## {title}\n\n| key | does | in `[keys.{area}]` |\n|---|---|---|\n")
        for key in areas()[area]:
            if key.help:
                shown = " ".join(f"`{each}`" for each in key_text(key, area).split(" "))
                words = key.help.replace("|", "\\|")
                parts.append(f"| {shown} | {words} | {_actions(key)} |\n")
        parts.append("\n")
    return "".join(parts).rstrip() + "\n"


def _actions(key: Key) -> str:
    """The names of its actions; with their place where it is another one."""
    if key.area == "textual":
        return ""
    place = f"{key.area}." if key.area else ""
    names = [f"`{place}{name}`" for name in dict.fromkeys(name_of(each) for each in key.bindings)]
    return f"{names[0]} to {names[-1]}" if len(names) > 4 else ", ".join(names)


if __name__ == "__main__":
    PAGE.write_text(keys_page(), encoding="utf-8")
