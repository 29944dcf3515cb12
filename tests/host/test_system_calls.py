"""No step makes a system call: thousands of steps run in a process that any call except write and exit would kill.

This holds for a single thread: releasing the GIL while other threads wait for it needs system calls to wake them.
"""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from compiling import compiler
from waiting import HANGS

import lstm97

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"), reason="needs Linux's seccomp"
)

HERE = Path(__file__).parent
REFUSED = 77

EXPORTED = r"""
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "net.c"

int main(int argc, char **argv)
{
    lstm97_weights w = lstm97_initial;
    lstm97_state s = {0};
    lstm97_real x[2] = {0.1, 0.2}, target = 0.3, y, p[LSTM97_N_PARAMETERS];
    (void) argv;
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT)) return 77;
    if (argc > 1) getppid();
    for (int i = 0; i < 10000; i++) {
        x[0] = i % 7 * 0.1;
        if (lstm97_step(&w, &s, x, &y) || lstm97_learn(&w, &s, x, &target, 0.01, &y)) syscall(SYS_exit, 1);
        if (lstm97_learn(&w, &s, x, NULL, 0, &y) || lstm97_correct(&w, &s, &target, 0.01)) syscall(SYS_exit, 1);
    }
    lstm97_get_parameters(&w, p);
    if (lstm97_set_parameters(&w, p)) syscall(SYS_exit, 1);
    lstm97_reset(&s);
    write(1, "done\n", 5);
    syscall(SYS_exit, 0);
}
"""


def run(*command):
    """Run a process until it ends or is killed; its result."""
    # Without threads of NumPy's linear algebra: exit only ends the calling thread.
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=HANGS)
    if done.returncode == REFUSED:
        pytest.skip("this system refuses seccomp")
    return done


def test_a_step_makes_no_system_call():
    done = run(sys.executable, str(HERE / "system_calls.py"))
    assert done.returncode == 0, (done.stdout.splitlines()[-1:], done.stderr)
    said = done.stdout.splitlines()
    assert len(said) == 3 * 2 * 12
    assert "without the GIL, float32: learn_run" in said


def test_a_system_call_would_be_detected():
    done = run(sys.executable, str(HERE / "system_calls.py"), "getpid")
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "")


def test_the_exported_c_makes_no_system_call(tmp_path):
    net = lstm97.Network(lstm97.Topology(2, 1, blocks=(2, 2), forget_gates=True, output="identity"))
    lstm97.export_c(net, tmp_path / "net.c", learn=True)
    (tmp_path / "main.c").write_text(EXPORTED)
    program = str(tmp_path / "main")
    subprocess.run([*compiler(), "-O2", str(tmp_path / "main.c"), "-o", program, "-lm"], check=True)
    done = run(program)
    assert (done.returncode, done.stdout) == (0, "done\n")
    assert run(program, "getppid").returncode == -signal.SIGKILL
