"""What the documentation shows is run: its Python blocks, its command lines, its reference."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from functools import cache
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
    return sorted({line for line in found if re.match(r"(\S*/)?mobile-(export|bench) ", line)})


@pytest.mark.parametrize(("where", "code"), blocks("python"), ids=lambda v: v.split("\n")[0][:30])
def test_python_examples_run(where: str, code: str, in_tmp: Path) -> None:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, f"{where}\n{done.stderr}"


TOOLS = {"mobile-export": "mobile_export", "mobile-bench": "mobile_export.bench.cli.main"}
BENCH_COMMANDS = {
    "build-runner", "compare", "devices", "estimate", "import", "pareto", "prepare-qemu",
    "published",
    "queue", "rank", "run", "runners", "table",
}  # fmt: skip


@cache
def options_of(tool: str, command: str) -> set[str]:
    help_text = subprocess.run(
        [sys.executable, "-m", TOOLS[tool], *command.split(), "--help"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return set(re.findall(r"(?<!\w)--?[a-z][a-z-]*", help_text))


@pytest.mark.parametrize("line", command_lines())
def test_command_lines_use_options_that_exist(line: str) -> None:
    path, command, *rest = shlex.split(line)
    tool = Path(path).name
    if tool == "mobile-bench" and command not in BENCH_COMMANDS:
        command, rest = "run", [command, *rest]
    if command.startswith("--"):
        return
    if command == "app":
        command = f"app {rest[0]}"
    used = {word.split("=", 1)[0] for word in rest if word.startswith("-")}
    assert used <= options_of(tool, command)


@pytest.mark.parametrize(
    ("page", "tool"), [("cli.md", "mobile-export"), ("bench-cli.md", "mobile-bench")]
)
def test_the_reference_is_up_to_date(page: str, tool: str, tmp_path: Path) -> None:
    module = {"mobile-export": "mobile_export.cli.main"}.get(tool, TOOLS[tool])
    words = ["-m", "typer", module, "utils", "docs", "--name", tool, "--output"]
    subprocess.run([sys.executable, *words, str(tmp_path / page)], check=True, capture_output=True)
    assert (ROOT / "docs" / page).read_text() == (tmp_path / page).read_text(), (
        f"run: python {' '.join(words)} docs/{page}"
    )


def test_links_between_pages_lead_somewhere() -> None:
    for page in PAGES:
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_what_pages_quote_stands_in_the_sources() -> None:
    quotes = re.compile(r"^<!-- from: (\S+) -->\n```\w+\n(.*?)^```", re.MULTILINE | re.DOTALL)
    found = [(page.name, *match) for page in PAGES for match in quotes.findall(page.read_text())]
    assert found
    for page, source, block in found:
        assert block in (ROOT / source).read_text(), f"{page}: {source} has other lines"
