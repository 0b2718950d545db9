"""What the documentation shows is run: its Python blocks, its command lines, its reference."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "CONTRIBUTING.md"]


def blocks(language: str) -> list[tuple[str, str]]:
    pattern = re.compile(rf"^```{language}\n(.*?)^```", re.MULTILINE | re.DOTALL)
    return [
        (f"{page.name}:{page.read_text()[: match.start()].count(chr(10)) + 1}", match[1])
        for page in PAGES
        for match in pattern.finditer(page.read_text())
    ]


def command_lines() -> list[str]:
    lines = [line for _, block in blocks("(?:sh|console)") for line in block.splitlines()]
    found = [
        line.removeprefix("$ ").split("&&")[-1].strip() for line in lines if "[OPTIONS]" not in line
    ]
    return sorted({line for line in found if re.match(r"(\S*/)?mobile-export ", line)})


@pytest.mark.parametrize(("where", "code"), blocks("python"), ids=lambda v: v.split("\n")[0][:30])
def test_python_examples_run(where: str, code: str, in_tmp: Path) -> None:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, f"{where}\n{done.stderr}"


def options_of(command: str, cache: dict[str, set[str]] = {}) -> set[str]:  # noqa: B006
    if command not in cache:
        help_text = subprocess.run(
            [sys.executable, "-m", "mobile_export", command, "--help"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        cache[command] = set(re.findall(r"(?<!\w)--?[a-z][a-z-]*", help_text))
    return cache[command]


@pytest.mark.parametrize("line", command_lines())
def test_command_lines_use_options_that_exist(line: str) -> None:
    _, command, *rest = shlex.split(line)
    if command.startswith("--"):
        return
    used = {word for word in rest if word.startswith("-")}
    assert used <= options_of(command)


def test_the_reference_is_up_to_date(tmp_path: Path) -> None:
    target = tmp_path / "cli.md"
    subprocess.run(
        [
            sys.executable, "-m", "typer", "mobile_export.cli", "utils", "docs",
            "--name", "mobile-export", "--output", str(target),
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip
    assert (ROOT / "docs" / "cli.md").read_text() == target.read_text(), (
        "run: python -m typer mobile_export.cli utils docs --name mobile-export "
        "--output docs/cli.md"
    )


def test_links_between_pages_lead_somewhere() -> None:
    for page in PAGES:
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
