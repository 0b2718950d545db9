"""The order of the rooms: a room imports rooms below it only.

The order is read from docs/architecture.md, so the picture there cannot be wrong. Type-only imports
and names given to ``importlib`` count like any other import.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import mobile_export

PACKAGE = Path(mobile_export.__file__).parent
PAGE = PACKAGE.parent / "docs" / "architecture.md"
ROOT = "mobile_export"


def order() -> dict[str, tuple[int, int]]:
    """Room -> (level, place on its line), from the fenced block ``rooms`` of the page."""
    text = re.search(r"```rooms\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert text is not None, "docs/architecture.md has no block called rooms"
    found: dict[str, tuple[int, int]] = {}
    for line in text[1].splitlines():
        level, *rooms = line.split()
        for place, room in enumerate(rooms):
            found[room] = (int(level), place)
    return found


ORDER = order()


def name_of(file: Path) -> str:
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(file): file for file in PACKAGE.rglob("*.py")}


def room_of(module: str) -> str:
    """The room of a module; rows and options of the formats are a room of their own."""
    parts = module.split(".")
    if parts[0] == "exporters":
        file = PACKAGE.joinpath("exporters", *parts[1:2], "__init__.py")
        own = parts[1:] in ([], ["row"], ["table"]) or (len(parts) == 2 and file.is_file())
        return "exporters.rows" if own or parts[2:] == ["options"] else "exporters"
    return parts[0]


def imported(module: str, file: Path) -> Iterator[tuple[str, int]]:
    """Modules of ours that ``file`` imports in any way, with the line."""
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith(f"{ROOT}."):
                    yield alias.name.removeprefix(f"{ROOT}."), node.lineno
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = [ROOT, *filter(None, package.split("."))]
                base = ".".join([*above[: len(above) - node.level + 1], *filter(None, [base])])
            if base == ROOT or base.startswith(f"{ROOT}."):
                inside = base.removeprefix(ROOT).removeprefix(".")
                for alias in node.names:
                    longer = f"{inside}.{alias.name}".removeprefix(".")
                    yield (longer if longer in MODULES else inside), node.lineno
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            dotted = node.value.split(":")[0].removeprefix(f"{ROOT}.")
            if node.value.startswith(f"{ROOT}.") and dotted in MODULES:
                yield dotted, node.lineno


def breaches() -> list[tuple[str, str, str]]:
    """(room, room, place in the source) of every import that goes up or to the left."""
    found = []
    for module, file in sorted(MODULES.items()):
        if module in ("", "__main__"):  # the package's face, which shows what is above
            continue
        room = room_of(module)
        for other, line in imported(module, file):
            target = room_of(other) if other else room
            if target == room or not other:
                continue
            (level, place), (their_level, their_place) = ORDER[room], ORDER[target]
            if (their_level, -their_place) >= (level, -place):
                found.append((room, target, f"{module}:{line} imports {other}"))
    return found


def test_every_room_has_a_place() -> None:
    assert {room_of(module) for module in MODULES} - {"", "__main__"} == set(ORDER)


def test_a_room_imports_only_rooms_below_it() -> None:
    wrong = [where for _, _, where in breaches()]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("module", "room"),
    [
        ("exporters.onnx", "exporters.rows"),
        ("exporters.onnx.options", "exporters.rows"),
        ("exporters.onnx.writer", "exporters"),
        ("exporters.interface", "exporters"),
        ("exporters.table", "exporters.rows"),
        ("graph.program", "graph"),
    ],
)
def test_rooms(module: str, room: str) -> None:
    assert room_of(module) == room
