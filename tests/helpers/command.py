"""The command `lstm97`, run as a program."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import termios

from waiting import HANGS

COMMAND = (sys.executable, "-W", "error", "-c", "from lstm97.cli import main; main()")


def run(*arguments, command=COMMAND, **options):
    return subprocess.run(
        [*command, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=HANGS, **options
    )


PROGRESS = re.compile(
    r"[\d,]+ of [\d,]+ trials( to run)?: |All [\d,]+ trials have their records|under way: |measured: |costs: "
    r"|text: [\d,]+|[\w-]+: ([\d,]+ of [\d,]+ sequences, |about )"
)


def complaints(stderr):
    """The command's stderr without the progress lines, which it writes there if that is not a terminal."""
    return "".join(line for line in stderr.splitlines(keepends=True) if not PROGRESS.match(line))


def assert_usage_error(result, *words):
    assert result.returncode == 2
    assert result.stdout == ""
    assert "Usage: lstm97" in result.stderr
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in result.stderr


@contextlib.contextmanager
def on_a_terminal(*arguments):
    """Run the command with stderr on a terminal of 100 columns; gives the process and that terminal's other end."""
    terminal, stderr = os.openpty()
    termios.tcsetwinsize(stderr, (24, 100))
    with subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=stderr) as process:
        os.close(stderr)
        try:
            yield process, terminal
        finally:
            process.kill()
            os.close(terminal)


def read_until(terminal, text=None):
    """The output of a terminal up to a text, or to the end."""
    seen = b""
    while text is None or text not in seen:
        try:
            piece = os.read(terminal, 4096)
        except OSError:  # on Linux: the other end was closed
            piece = b""
        if not piece:
            break
        seen += piece
    return seen
