"""Common parts of the fuzzing programs in this folder: work in child processes, counts, findings, the command line.

Work is divided into numbered items. Item INDEX depends on seed and index alone: ``--only INDEX`` repeats it in this
process and shows the traceback. Otherwise the work is done in a child process, so that a crash, a hang or an error of a
sanitizer is a finding too; the next child continues after that item.
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
MEMORY = 2**29  # bytes beyond those in use; an item that needs more gets a MemoryError


def one(rng, items):
    """A random one of the items."""
    return items[rng.integers(len(items))]


class Tally:
    """Counts by name in shared memory, which survive the child process that counts.

    Each of the processes that work side by side has a row of its own, that of its `job`.
    """

    def __init__(self, names, n_jobs):
        self._places = {name: i for i, name in enumerate(names)}
        n = 3 + len(self._places)
        self._rows = np.frombuffer(mmap.mmap(-1, 8 * n_jobs * n), np.int64).reshape(n_jobs, n)
        self.job = 0

    def add(self, name):
        """Increase a count by one."""
        self._rows[self.job, 3 + self._places[name]] += 1

    def begin(self, index):
        """Note that this job begins an item."""
        self._rows[self.job, 0] = index
        self._rows[self.job, 1] += 1

    def grow(self, kilobytes):
        """Note by how much this job's memory has grown."""
        self._rows[self.job, 2] = max(self._rows[self.job, 2], kilobytes)

    @property
    def index(self):
        """The item that this job has begun last."""
        return int(self._rows[self.job, 0])

    @property
    def begun(self):
        """The number of items that all jobs have begun."""
        return int(self._rows[:, 1].sum())

    @property
    def growth(self):
        """The largest growth of memory of a job, in kilobytes."""
        return int(self._rows[:, 2].max())

    def __getitem__(self, name):
        return int(self._rows[:, 3 + self._places[name]].sum())

    def counts(self, names):
        """The counts of these names, by name."""
        return {name: self[name] for name in names}


def note(folder, index, error, **more):
    """Write a finding to the folder."""
    with (folder / "findings").open("a") as file:
        print(json.dumps({"index": index, "error": error, **more}), file=file)


def limit_memory():
    """Make large allocations raise MemoryError. (Not under the address sanitizer, which has an option for that.)"""
    if "libasan" not in os.environ.get("LD_PRELOAD", "") and os.path.exists("/proc/self/statm"):
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, resource.RLIM_INFINITY))


def work_through(indices, work, folder, tally, enough):
    """Do these items until `enough()`; exceptions of `work` are findings, which their attribute `found` describes."""
    begin = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for index in indices:
        if enough():
            break
        tally.begin(index)
        signal.alarm(SECONDS_PER_ITEM)
        try:
            work(index)
        except Exception as error:
            traceback.print_exc()
            note(folder, index, repr(error)[:500], **getattr(error, "found", {}))
        tally.grow(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - begin)
    signal.alarm(0)


def work_in_children(indices, work, folder, tally, enough):
    """Do these items in a child process until `enough()`; if the child dies, the next one continues after its item."""
    crashes = 0
    while indices and crashes < MAX_CRASHES and not enough():
        child = os.fork()
        if child == 0:
            try:
                limit_memory()
                work_through(indices, work, folder, tally, enough)
                os._exit(0)
            finally:
                traceback.print_exc()
                os._exit(1)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code == 0:
            return
        crashes, indices = crashes + 1, indices[indices.index(tally.index) + 1 :]
        note(folder, tally.index, f"exit code {code}" if code > 0 else signal.Signals(-code).name)


def work_side_by_side(options, make_work, folder, tally, enough):
    """Do options.n items in options.jobs processes; each does every options.jobs-th item."""
    processes = []
    for job in range(options.jobs):
        processes.append(os.fork())
        if processes[-1] == 0:
            try:
                tally.job = job
                (own := folder / f"job-{job}").mkdir()
                work = make_work(own)
                work_in_children(range(job, options.n, options.jobs), work, folder, tally, enough)
                os._exit(0)
            finally:
                traceback.print_exc()
                os._exit(1)
    for process in processes:
        if os.waitpid(process, 0)[1] != 0:
            raise RuntimeError("a process that supervises children has failed")


def command_line(doc, what, n):
    """The command-line options that all the programs have."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument(f"--{what}", dest="n", type=int, default=n)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="number of processes that share the work")
    parser.add_argument("--seconds", type=float, help="begin no further item after this time")
    parser.add_argument("--only", type=int, metavar="INDEX", help="do only this item, in this process")
    parser.add_argument("--json", metavar="FILE", help="write the result to this file too")
    return parser


def about():
    """Command, commit, date, machine and versions, for the record."""
    cpus = Path("/proc/cpuinfo")
    names = [line for line in cpus.read_text().splitlines() if line.startswith("model name")] if cpus.exists() else []
    describe = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    commit = os.environ.get("COMMIT") or subprocess.run(describe, capture_output=True, text=True).stdout.strip()
    return {
        "command": shlex.join(["python", f"tests/fuzz/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
        "commit": commit,
        "date": datetime.date.today().isoformat(),
        "machine": names[0].partition(":")[2].strip() if names else platform.machine(),
        "build of the loops": lstm97.show_config().build,
        "versions": {"python": platform.python_version(), "numpy": np.__version__, "lstm97": lstm97.__version__},
    }


def main(options, what, tally, make_work, describe, is_complete=lambda: False):
    """Do the work that ``make_work(folder)`` returns; print the result with ``describe()``; exit 1 with findings."""
    warnings.simplefilter("error")
    begin = time.perf_counter()

    def enough():
        if (begun := tally.begun) % 5000 == 4999:
            print(f"{begun + 1} {what}", file=sys.stderr, flush=True)
        is_late = options.seconds is not None and time.perf_counter() - begin > options.seconds
        return is_late or is_complete()

    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as name:
        folder = Path(name)
        if options.only is None:
            work_side_by_side(options, make_work, folder, tally, enough)
        else:
            limit_memory()
            work_through([options.only], make_work(folder), folder, tally, lambda: False)
        notes = folder / "findings"
        findings = [json.loads(line) for line in notes.read_text().splitlines()] if notes.exists() else []
    result = {
        "about": about(),
        "seed": options.seed,
        what: tally.begun,
        **describe(),
        "findings": findings,
        "peak RSS growth in MB": round(tally.growth / 1024, 1),
        "seconds": round(time.perf_counter() - begin, 1),
    }
    print(text := json.dumps(result, indent=1))
    if options.json:
        Path(options.json).write_text(text + "\n", encoding="utf-8")
    sys.exit(bool(findings))
