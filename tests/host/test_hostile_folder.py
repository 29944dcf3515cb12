"""The command never runs anything from the current folder, neither by git nor as a module."""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest
from command import run

from lstm97.paper.trials.records import _commit_of

SCRIPT = [Path(sysconfig.get_path("scripts")) / "lstm97"]
DECOYS = ("multiprocessing", "concurrent", "lstm97", "numpy", "click", "tqdm", "json", "struct", "random", "pickle")
SHA = "0123456789abcdef" * 2 + "01234567"


@pytest.fixture
def hostile(tmp_path):
    """A folder that looks like a checkout of this project; anything run from it makes the file `pwned` in it."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    pwned = tmp_path / "pwned"
    source = tmp_path / "src" / "lstm97" / "paper" / "trials" / "records.py"
    source.parent.mkdir(parents=True)
    source.touch()
    for name in DECOYS:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"open({str(pwned)!r}, 'w').close()\n")

    def git(*arguments):
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True, capture_output=True)

    git("init")
    git("add", "src")
    git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-m", "a")
    git("config", "core.fsmonitor", f"touch '{pwned}'; false")
    git("describe", "--always", "--dirty")
    assert pwned.exists()  # the trap works
    pwned.unlink()
    return tmp_path


@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_reproduce_runs_nothing_from_the_current_folder(executor, hostile):
    arguments = ("reproduce", "1-5", "--trials", 1, "--max-sequences", 5, "--executor", executor, "--jobs", 1)
    result = run(*arguments, "--out", "r.jsonl", command=SCRIPT, cwd=hostile)
    assert result.returncode == 0, result.stderr
    assert not (hostile / "pwned").exists()
    assert (hostile / "r.jsonl").read_bytes().count(b"\n") == 3


def test_other_commands_run_nothing_from_the_current_folder(hostile):
    for arguments in (("list",), ("run", "adding", "--max-sequences", 5), ("run", "text", "--max-bytes", 500)):
        assert run(*arguments, command=SCRIPT, cwd=hostile).returncode in (0, 1)
    assert not (hostile / "pwned").exists()


# ---- the commit, without git ----


def test_the_commit_is_that_of_git(tmp_path):
    if shutil.which("git") is None:
        pytest.skip("git is not installed")

    def git(*arguments, folder=tmp_path):
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
        return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()

    git("init")
    for i in range(2):
        git("commit", "--allow-empty", "-m", f"{i}")
    head = git("rev-parse", "HEAD")
    assert _commit_of(tmp_path / ".git") == head[:12]
    git("pack-refs", "--all")
    assert _commit_of(tmp_path / ".git") == head[:12]
    git("worktree", "add", "-b", "other", "elsewhere")
    assert _commit_of(tmp_path / "elsewhere" / ".git") == head[:12]
    git("commit", "--allow-empty", "-m", "there", folder=tmp_path / "elsewhere")
    there = git("rev-parse", "HEAD", folder=tmp_path / "elsewhere")
    assert _commit_of(tmp_path / "elsewhere" / ".git") == there[:12] != head[:12]
    git("checkout", "--detach", "HEAD~1")
    assert _commit_of(tmp_path / ".git") == git("rev-parse", "HEAD")[:12] != head[:12]


@pytest.mark.parametrize("head", ["", "no commit", "ref: refs/heads/none", "ref: ../../secret", SHA.upper()])
def test_a_damaged_head_gives_no_commit(head, tmp_path):
    git = tmp_path / "a" / ".git"
    git.mkdir(parents=True)
    (git / "HEAD").write_text(f"{head}\n")
    (git / "packed-refs").write_text(f"# pack-refs with: peeled\n{SHA} refs/heads/main\n^{SHA}\n")
    (tmp_path / "secret").write_text("secret")
    assert _commit_of(git) is None
