"""Every file as the linters and formatters of .pre-commit-config.yaml want it."""

import os
import shutil
import subprocess
import sys

import pytest

from paths import ROOT


def test_lint_and_format(tmp_path):
    """On a copy of what git knows, which the hooks may change."""
    if not os.path.exists(os.path.join(ROOT, ".git")):
        pytest.skip("no checkout to look at")
    for tool in ("pre-commit", "ruff", "clang-format"):
        if not shutil.which(tool, path=os.path.dirname(sys.executable)):
            pytest.skip(f"needs {tool}: pip install -e '.[test]'")
    copy, environ = (
        tmp_path / "copy",
        {
            **os.environ,
            "PRE_COMMIT_HOME": str(tmp_path / "home"),
            "PATH": os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"],
        },
    )
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, files.split("\0")):
        if os.path.splitext(name)[1] in (".py", ".cc", ".c", ".h", ".toml", ".yaml", ".clang-format") or name[0] == ".":
            os.makedirs(os.path.dirname(copy / name), exist_ok=True)
            shutil.copyfile(os.path.join(ROOT, name), copy / name)
    for command in (["git", "init", "--quiet"], ["git", "add", "--all"]):
        subprocess.run(command, cwd=copy, check=True)
    done = subprocess.run(
        ["pre-commit", "run", "--all-files", "--show-diff-on-failure"],
        cwd=copy,
        env=environ,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
