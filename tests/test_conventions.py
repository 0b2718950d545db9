"""The rules of docs/architecture.md, checked on the source text."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import mobile_export
from mobile_export.exporters.table import FORMATS

PACKAGE = Path(mobile_export.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
NAMES = [str(file.relative_to(PACKAGE)) for file in FILES]
HEAVY = {
    "PIL", "ai_edge_litert", "ai_edge_quantizer", "coremltools", "litert_torch", "matplotlib",
    "ncnn", "onnx", "onnxruntime", "onnxscript", "onnxsim", "tensorflow", "timm", "torch",
    "torchvision",
}  # fmt: skip

each_file = pytest.mark.parametrize("file", FILES, ids=NAMES)


def tree_of(file: Path) -> ast.Module:
    return ast.parse(file.read_text())


def imported_at_top(tree: ast.Module) -> set[str]:
    found: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.split(".")[0])
    return found


MOST_LINES, MOST_BRANCHES = 60, 12
_BRANCHES = (ast.If, ast.For, ast.While, ast.ExceptHandler, ast.match_case, ast.IfExp)


def long_functions() -> set[str]:
    """``file:name`` of every function with more lines, its docstring apart, or branches."""
    found: set[str] = set()
    for file, name in zip(FILES, NAMES, strict=True):
        for node in ast.walk(tree_of(file)):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
            lines = (node.end_lineno or 0) - first.lineno + 1
            branches = sum(isinstance(each, _BRANCHES) for each in ast.walk(node))
            if lines > MOST_LINES or branches > MOST_BRANCHES:
                found.add(f"{name}:{node.name}")
    return found


def test_functions_are_short() -> None:
    assert long_functions() == set()


@each_file
def test_every_module_has_a_docstring(file: Path) -> None:
    tree = tree_of(file)
    assert not tree.body or ast.get_docstring(tree)


@each_file
def test_vendors_are_imported_inside_functions(file: Path) -> None:
    assert not imported_at_top(tree_of(file)) & (HEAVY - {"torch"})


@each_file
def test_sys_exit_only_in_command_lines(file: Path) -> None:
    if "cli" in file.relative_to(PACKAGE).parts:
        return
    calls = [n for n in ast.walk(tree_of(file)) if isinstance(n, ast.Call)]
    assert not any(ast.unparse(call.func) in ("sys.exit", "exit", "quit") for call in calls)


@each_file
def test_descriptors_are_redirected_by_command_lines_only(file: Path) -> None:
    parts = file.relative_to(PACKAGE).parts
    if "cli" in parts or parts[0] == "bench" or parts == ("system", "quiet.py"):
        return
    if parts == ("system", "children.py"):  # for the main programs of child processes
        return
    names = {
        alias.name
        for node in ast.walk(tree_of(file))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert "quiet" not in names
    assert "os.dup2" not in file.read_text()


@each_file
def test_broad_excepts_say_why(file: Path) -> None:
    lines = file.read_text().splitlines()
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"bare except at line {node.lineno}"
            if "Exception" in ast.unparse(node.type).replace("(", " ").replace(",", " ").split():
                assert "#" in lines[node.lineno - 1], f"line {node.lineno} does not say why"


@each_file
def test_nothing_branches_on_the_name_of_a_target(file: Path) -> None:
    names = {target.name for target in FORMATS}
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.Compare):
            spelled = {
                leaf.value
                for part in [node.left, *node.comparators]
                for leaf in ast.walk(part)
                if isinstance(leaf, ast.Constant) and isinstance(leaf.value, str)
            }
            assert not spelled & names, f"line {node.lineno}"
        if isinstance(node, ast.MatchValue):
            assert ast.literal_eval(node.value) not in names


ENVIRONMENT = {
    "__init__.py": "ORT_DISABLE_TELEMETRY, set before anything imports onnxruntime",
    "bench/native/build.py": "where caches and programs are, by the system's conventions",
    "bench/worker.py": "ORT_DISABLE_TELEMETRY, in the worker",
    "sources/download.py": "where caches are, by the system's conventions",
    "system/vulkan.py": "the driver that Vulkan's loader is told, where there is no GPU",
    "sweep/processes.py": "handed on to the processes of the cells",
}
"""Modules that read or set variables of the environment, and why; none is an option of ours."""


@each_file
def test_no_environment_variables_as_options(file: Path) -> None:
    named = {
        node.attr if isinstance(node, ast.Attribute) else node.id
        for node in ast.walk(tree_of(file))
        if isinstance(node, ast.Attribute | ast.Name)
    }
    touched = bool(named & {"environ", "environb", "getenv", "putenv"})
    assert touched == (file.relative_to(PACKAGE).as_posix() in ENVIRONMENT)


PUBLIC = {"torch.__version__"}
PRIVATE = ("torch._", "torch.utils._", "coremltools.converters.mil", "litert_torch.backend")


@each_file
def test_private_interfaces_stand_in_one_module_each(file: Path) -> None:
    if file.name.endswith("_private.py"):
        return
    for node in ast.walk(tree_of(file)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module or ""]
        elif isinstance(node, ast.Attribute):
            names = [ast.unparse(node)]
        wrong = [n for n in names if n not in PUBLIC and f"{n}.".startswith(PRIVATE)]
        assert not wrong, f"line {getattr(node, 'lineno', 0)}: {wrong[0]}"


@each_file
def test_every_public_name_exists(file: Path) -> None:
    tree = tree_of(file)
    listed = next(
        (
            ast.literal_eval(node.value)
            for node in tree.body
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
        ),
        None,
    )
    if listed is None or file.name == "__init__.py":
        return
    defined = {
        name
        for node in ast.walk(tree)
        for name in (
            [node.name]
            if isinstance(node, ast.FunctionDef | ast.ClassDef)
            else [alias.asname or alias.name for alias in node.names]
            if isinstance(node, ast.ImportFrom)
            else [n.id for t in node.targets for n in ast.walk(t) if isinstance(n, ast.Name)]
            if isinstance(node, ast.Assign)
            else [ast.unparse(node.target)]
            if isinstance(node, ast.AnnAssign)
            else []
        )
    }
    assert set(listed) <= defined
    assert len(listed) == len(set(listed))


def test_tolerances_are_explicit_and_none_is_loose() -> None:
    from mobile_export.exporters.row import FLOAT16, FLOAT32, LOOSEST, Tolerance
    from mobile_export.parity import judge as parity
    from mobile_export.passes import EXACT

    assert Tolerance(1e-5, float32_factor=4) == FLOAT32
    assert Tolerance(1e-2) == FLOAT16
    assert LOOSEST == 1e-2
    for row in FORMATS:
        for precision in row.precisions:
            assert precision.tolerance.limit <= LOOSEST
    assert parity.ILL_CONDITIONED == 1e-4
    assert EXACT == 1e-9


def modules_after(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return {name.split(".")[0] for name in done.stdout.split()}


def test_importing_the_package_is_cheap() -> None:
    assert not modules_after("import mobile_export") & HEAVY


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import contextlib, sys\n"
        "from mobile_export.cli.main import main\n"
        "for words in (['--help'], ['onnx', '--help'], ['verify', '--help']):\n"
        "    sys.argv = ['mobile-export', *words]\n"
        "    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(sys.stderr):\n"
        "        main()"
    )
    assert not modules_after(code) & (HEAVY | {"numpy"})


def test_the_public_interface_is_sorted_and_there() -> None:
    names = mobile_export.__all__
    assert names == sorted(names)
    assert dir(mobile_export) == names
    for name in names:
        assert getattr(mobile_export, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = mobile_export.nothing
