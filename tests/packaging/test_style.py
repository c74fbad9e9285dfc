"""Every file as the linters, formatters and the type checker of .pre-commit-config.yaml want it."""

import ast
import os
import pathlib
import re
import shutil
import subprocess
import sys
import textwrap

import pytest

from paths import ROOT

pytestmark = pytest.mark.packaging


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of what git knows, which the hooks may change."""
    if not os.path.exists(os.path.join(ROOT, ".git")):
        pytest.skip("no checkout to look at")
    copy = tmp_path_factory.mktemp("style") / "copy"
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, files.split("\0")):
        if os.path.splitext(name)[1] in (".py", ".cc", ".c", ".h", ".toml", ".yaml", ".clang-format") or name[0] == ".":
            os.makedirs(os.path.dirname(copy / name), exist_ok=True)
            shutil.copyfile(os.path.join(ROOT, name), copy / name)
    for command in (["git", "init", "--quiet"], ["git", "add", "--all"]):
        subprocess.run(command, cwd=copy, check=True)
    return copy


@pytest.mark.parametrize(
    "hook, tool",
    [
        ("ruff-check", "ruff"),
        ("ruff-format", "ruff"),
        ("clang-format", "clang-format"),
        pytest.param("mypy", "mypy", marks=pytest.mark.slow),
    ],
)
def test_hook(copy, tmp_path, hook, tool):
    scripts = os.path.dirname(sys.executable)
    for needed in ("pre-commit", tool):
        if not shutil.which(needed, path=scripts):
            pytest.skip(f"needs {needed}: pip install -e '.[test]'")
    environ = {"PRE_COMMIT_HOME": str(tmp_path), "PATH": scripts + os.pathsep + os.environ["PATH"], "PYTHONPATH": ""}
    done = subprocess.run(
        ["pre-commit", "run", hook, "--all-files", "--show-diff-on-failure"],
        cwd=copy,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_no_test_is_inside_of_a_function():
    """pytest would not see it, and it would never run."""
    files = list(pathlib.Path(ROOT, "tests").rglob("test_*.py"))
    assert len(files) > 30
    for path in files:
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(function, ast.FunctionDef):
                inside = [node.name for node in ast.walk(function) if isinstance(node, ast.FunctionDef)][1:]
                assert not [name for name in inside if name.startswith("test_")], f"{path}: {function.name}"


def test_contributing_names_what_is_there():
    """Its paths, but for those of what it adds as an example, and its programs in Python, which parse."""
    if not os.path.exists(os.path.join(ROOT, ".git")):
        pytest.skip("no checkout to look at")
    text = pathlib.Path(ROOT, "CONTRIBUTING.md").read_text(encoding="utf-8")
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    known = "".join(f"/{file}\n" for file in files)
    paths = set(re.findall(r"`((?:\w+/)+[\w.]*)`", text))
    added = {path for path in paths if re.search("NAME|half|reverse|sse42|listing|^mnist/", path)}
    assert len(paths - added) > 30
    assert [path for path in sorted(paths - added) if f"/{path}" not in known] == []
    programs = re.findall(r"^( *)```python\n(.*?)^\1```", text, re.M | re.S)
    assert len(programs) > 5
    for _, program in programs:
        ast.parse(textwrap.dedent(program))
