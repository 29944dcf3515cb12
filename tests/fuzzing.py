"""What the fuzzing programs of this folder have in common: work in children, counts, findings, the command line.

Work comes as items with numbers. Item INDEX depends on seed and index alone: ``--only INDEX`` repeats it in this
process and shows the traceback. Otherwise the work is done in a child, so that a crash, a hang or a sanitizer's verdict
is a finding too; the next child goes on behind it.
"""

from __future__ import annotations

import argparse
import datetime
import json
import mmap
import os
import platform
import resource
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

import numpy as np

import lstm97

MAX_CRASHES = 20
SECONDS_PER_ITEM = 60
MEMORY = 2**29  # more than any item may take


def one(rng, items):
    """One of these."""
    return items[rng.integers(len(items))]


class Tally:
    """Counts by name, which a child makes and its parent sees, whatever becomes of the child."""

    def __init__(self, names):
        self._places = {name: i for i, name in enumerate(names)}
        self._shared = np.frombuffer(mmap.mmap(-1, 8 * (3 + len(self._places))), np.int64)
        self.place, self.begun, self.growth = self._shared[:1], self._shared[1:2], self._shared[2:3]
        self._counts = self._shared[3:]

    def add(self, name):
        """One more of these."""
        self._counts[self._places[name]] += 1

    def __getitem__(self, name):
        return int(self._counts[self._places[name]])

    def counts(self, names):
        """Those of these names, by name."""
        return {name: self[name] for name in names}


def note(folder, index, error, **more):
    """Keep a finding."""
    with (folder / "findings").open("a") as file:
        print(json.dumps({"index": index, "error": error, **more}), file=file)


def limit_memory():
    """Make a large allocation a MemoryError. (The address sanitizer needs far more; it has an option for that.)"""
    if "libasan" not in os.environ.get("LD_PRELOAD", "") and os.path.exists("/proc/self/statm"):
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, resource.RLIM_INFINITY))


def work_through(indices, work, folder, tally, enough):
    """Do these items until it is enough; what `work` raises is a finding, which it may describe by `found`."""
    begin = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for index in indices:
        if enough():
            break
        tally.place[0] = index
        tally.begun[0] += 1
        signal.alarm(SECONDS_PER_ITEM)
        try:
            work(index)
        except Exception as error:
            traceback.print_exc()
            note(folder, index, repr(error)[:500], **getattr(error, "found", {}))
        tally.growth[0] = max(tally.growth[0], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - begin)
    signal.alarm(0)


def work_in_children(n, work, folder, tally, enough):
    """Do n items, or as many as come before it is enough; where a child dies of one, the next goes on behind it."""
    begin, crashes = 0, 0
    while begin < n and crashes < MAX_CRASHES and not enough():
        child = os.fork()
        if child == 0:
            try:
                limit_memory()
                work_through(range(begin, n), work, folder, tally, enough)
                os._exit(0)
            finally:
                traceback.print_exc()
                os._exit(1)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code == 0:
            return
        crashes, begin = crashes + 1, int(tally.place[0]) + 1
        note(folder, begin - 1, f"exit code {code}" if code > 0 else signal.Signals(-code).name)


def command_line(doc, what, n):
    """The options that all the programs have."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument(f"--{what}", dest="n", type=int, default=n)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, help="begin no further one after so many seconds")
    parser.add_argument("--only", type=int, metavar="INDEX", help="just this one, in this process")
    parser.add_argument("--json", metavar="FILE", help="write the result there too")
    return parser


def about():
    """What a record must tell, to be worth anything later."""
    cpus = Path("/proc/cpuinfo")
    names = [line for line in cpus.read_text().splitlines() if line.startswith("model name")] if cpus.exists() else []
    describe = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    commit = os.environ.get("COMMIT") or subprocess.run(describe, capture_output=True, text=True).stdout.strip()
    return {
        "command": shlex.join(["python", f"tests/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
        "commit": commit,
        "date": datetime.date.today().isoformat(),
        "machine": names[0].partition(":")[2].strip() if names else platform.machine(),
        "build of the loops": lstm97.show_config().build,
        "versions": {"python": platform.python_version(), "numpy": np.__version__, "lstm97": lstm97.__version__},
    }


def main(options, what, tally, make_work, describe, is_complete=lambda: False):
    """Do the work that ``make_work(folder)`` makes; print what ``describe()`` tells and exit by what was found."""
    warnings.simplefilter("error")
    begin = time.perf_counter()

    def enough():
        if tally.begun[0] % 5000 == 4999:
            print(f"{tally.begun[0] + 1} {what}", file=sys.stderr, flush=True)
        is_late = options.seconds is not None and time.perf_counter() - begin > options.seconds
        return is_late or is_complete()

    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as name:
        folder = Path(name)
        work = make_work(folder)
        if options.only is None:
            work_in_children(options.n, work, folder, tally, enough)
        else:
            limit_memory()
            work_through([options.only], work, folder, tally, lambda: False)
        notes = folder / "findings"
        findings = [json.loads(line) for line in notes.read_text().splitlines()] if notes.exists() else []
    result = {
        "about": about(),
        "seed": options.seed,
        what: int(tally.begun[0]),
        **describe(),
        "findings": findings,
        "peak RSS growth in MB": round(int(tally.growth[0]) / 1024, 1),
        "seconds": round(time.perf_counter() - begin, 1),
    }
    print(text := json.dumps(result, indent=1))
    if options.json:
        Path(options.json).write_text(text + "\n", encoding="utf-8")
    sys.exit(bool(findings))
