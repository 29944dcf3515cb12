"""Executors by name: trials in other processes and on a Dask cluster, also if workers are killed."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import platform
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from concurrent.futures import BrokenExecutor, ThreadPoolExecutor
from pathlib import Path

import distributed
import numpy as np
import pytest
from command import COMMAND, assert_usage_error, complaints, run
from many_cases import CASES, assert_as_alone
from trials import RUN, records_of, small
from waiting import HANGS, until

import lstm97
from lstm97 import Stop, executors
from lstm97.cluster.executors import open_executor
from lstm97.paper import LSTM, METHODS, READINGS, Growth, Records, experiment, plan, reproduce, run_trial, select_rows
from lstm97.paper.trials.records import from_line, to_line
from lstm97.paper.trials.reproduction import from_bytes, to_bytes

pytestmark = pytest.mark.xdist_group("cluster")

SOME = ("reproduce", "1-5", "3b-1000-1", "--reading", "literal", "--trials", "3", "--max-sequences", "2500")
"""Three trials that take a few tenths of a second, then three of about a second."""

ENDLESS = ("reproduce", "3b-1000-1", "--reading", "literal", "--trials", "4")
"""Trials that take longer than any test waits."""


@pytest.fixture(scope="module")
def expected():
    """The records of SOME, run one after the other."""
    rows = {row.row: row for row in select_rows([])}
    trials = [run_trial(rows[row], seed, max_sequences=2500)[1] for row in ("1-5", "3b-1000-1") for seed in (1, 2, 3)]
    return {(one.row, one.reading, one.seed, one.max_sequences): one for one in trials}


@contextlib.contextmanager
def started(*arguments, **options):
    """A running program, which is killed at the end if it still runs."""
    with subprocess.Popen(
        [*map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    ) as process:
        try:
            yield process
        finally:
            process.kill()


# ---- tasks and records as bytes ----


def test_every_task_and_record_is_the_same_after_conversion_to_bytes():
    rows = select_rows([], (LSTM, *METHODS))
    rows += [reading.apply(row) for row in select_rows([]) for reading in READINGS[row.task]]
    rows += [
        small(13, stop=Stop(3, np.inf, 1e-300, 2), growth=Growth(window=5, fall=0.1)),
        experiment("adding", 20),
        dataclasses.replace(small(), parameters={"a": 1, "b": "c"}, settings={"x": (1, (2.5, None)), "y": True}),
    ]
    planned = plan(rows, trials=1, max_sequences=10**9)
    assert len(planned) > 300
    assert [from_bytes(to_bytes(task)) for task in planned] == planned
    trial = run_trial(small(13), 5, max_sequences=30)[1]
    assert from_line(to_line(trial)) == trial


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"settings": {"x": np.int64(3)}}, "int64"),
        ({"settings": {"x": plan([small()], trials=1)}}, "PlannedTrial"),
        ({"paper": dataclasses.make_dataclass("Figures", [])()}, "an experiment with a Figures cannot go"),
        *[
            ({"settings": settings}, r"^the experiment 4-13 \(literal\) would reach an executor as another one; it may")
            for settings in (
                {"x": [1, 2]},
                {"x": {1: 2}},
                {"x": math.nan},
                {"class": "nothing"},
                {"class": "Stop"},
                {"class": "Stop", "x": 1},
                {"class": "Stop", "window": -1},
            )
        ],
    ],
)
def test_values_that_json_lacks_are_refused_before_anything_is_run(tmp_path, change, message):
    with Records(tmp_path / "records", RUN) as records, ThreadPoolExecutor(1) as executor:
        planned = plan([small(), small(13, **change)], trials=1, max_sequences=5)
        with pytest.raises(TypeError, match=message):
            reproduce(planned, records, executor=executor)
        assert records.trials == {}


def test_workers_with_another_build_are_refused(tmp_path, monkeypatch):
    """Otherwise their trials would be recorded as those of this build."""
    builds = iter(["v4", "baseline"])
    for module in ("lstm97.cluster.executors", "lstm97.paper.trials.reproduction"):
        monkeypatch.setattr(f"{module}.this_build", lambda: ["1.0", next(builds), "x86_64"])
    with Records(tmp_path / "records", RUN) as records, ThreadPoolExecutor(1) as executor:
        with pytest.raises(
            BrokenExecutor, match=r"with the build baseline on x86_64, .* with v4 on .* set LSTM97_KERNEL"
        ):
            reproduce(plan([small()], trials=1, max_sequences=5), records, executor=executor)
        assert records.trials == {}


def test_this_build_does_not_depend_on_the_environment(monkeypatch):
    config = lstm97.show_config()
    monkeypatch.setenv("LSTM97_NUM_THREADS", "many")
    assert executors.this_build() == [config.version, config.build, platform.machine()]


# ---- opening ----


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("fork", {}, "executor is 'fork', expected one of 'threads', 'processes', 'dask', 'mpi'"),
        ("threads", {"jobs": 0}, "jobs must be at least 1, got 0"),
        ("dask", {"jobs": 2, "scheduler": "tcp://h:1"}, "jobs is 2, but an executor 'dask' has the workers it has"),
        ("mpi", {"jobs": 2}, "jobs is 2, but an executor 'mpi' has the workers it has"),
        ("dask", {}, "an executor 'dask' needs the address of its scheduler"),
        ("dask", {"scheduler": "nowhere"}, "scheduler is 'nowhere', expected an address such as tcp://host:8786"),
        ("processes", {"scheduler": "tcp://h:1"}, "scheduler is 'tcp://h:1', but an executor 'processes' has none"),
    ],
)
def test_options_that_do_not_fit_the_executor_are_refused(name, options, message):
    with pytest.raises(ValueError, match=f"^{message}"), open_executor(name, **options):
        pass


@pytest.mark.parametrize(
    ("name", "package", "options"),
    [("dask", "distributed", {"scheduler": "tcp://127.0.0.1:1"}), ("mpi", "mpi4py", {})],
)
def test_a_missing_package_is_named_with_its_extra(monkeypatch, name, package, options):
    monkeypatch.setitem(sys.modules, package, None)
    message = f"needs the package {package}.*: pip install {package}$"
    with pytest.raises(ModuleNotFoundError, match=message), open_executor(name, **options):
        pass


@pytest.mark.parametrize("error", ["RuntimeError", "ImportError"])
def test_a_missing_mpi_library_gives_one_line(tmp_path, error):
    """The error depends on how mpi4py was built; a package on the path takes its place here."""
    (tmp_path / "mpi4py").mkdir()
    (tmp_path / "mpi4py" / "__init__.py").touch()
    (tmp_path / "mpi4py" / "futures.py").write_text(
        f"raise {error}('cannot load MPI library\\nlibmpi.so: no such file')"
    )
    result = run("reproduce", "--executor", "mpi", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (1, "")
    message = (
        "an executor 'mpi' needs an MPI library, which mpi4py does not bring (cannot load MPI library); install one, "
    )
    assert result.stderr == f"Error: {message}as a package of the system or by pip install mpich\n"


@pytest.mark.parametrize(("jobs", "environment"), [(3, "1"), (None, "3")])
def test_jobs_or_else_the_environment_sets_the_number_of_threads(monkeypatch, jobs, environment):
    monkeypatch.setenv("LSTM97_NUM_THREADS", environment)
    barrier = threading.Barrier(3)
    with open_executor("threads", jobs=jobs) as executor:
        futures = [executor.submit(barrier.wait, HANGS) for _ in range(3)]
        assert sorted(future.result() for future in futures) == [0, 1, 2]


@pytest.mark.parametrize("name", ["threads", "processes"])
def test_a_bad_number_of_workers_in_the_environment_is_refused(monkeypatch, name):
    monkeypatch.setenv("LSTM97_NUM_THREADS", "many")
    with pytest.raises(ValueError, match="LSTM97_NUM_THREADS is 'many'"), open_executor(name):
        pass


@pytest.mark.parametrize("name", ["threads", "processes"])
def test_what_is_opened_is_closed(name):
    with open_executor(name, jobs=2) as executor:
        assert executor.submit(abs, -1).result() == 1
    with pytest.raises(RuntimeError, match="shutdown"):
        executor.submit(abs, -1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--executor", "fork"], ["--executor", "'fork'", "processes"]),
        (["--executor", "dask", "--scheduler", "tcp://h:1", "--jobs", "2"], ["jobs is 2", "'dask'"]),
        (["--scheduler", "tcp://h:1"], ["scheduler is 'tcp://h:1'", "'threads'"]),
    ],
)
def test_usage_errors_leave_no_file(tmp_path, options, words):
    assert_usage_error(run("readings", "adding", *options, "--max-sequences", 1, cwd=tmp_path), *words)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_extra_gives_one_line(tmp_path):
    block = "import sys; sys.modules['distributed'] = None; from lstm97.cli import main; main()"
    command = [sys.executable, "-c", block]
    result = run("reproduce", "--executor", "dask", "--scheduler", "tcp://h:1", command=command, cwd=tmp_path)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "Error: an executor 'dask' needs the package distributed: pip install distributed\n"


def test_an_interrupt_before_there_is_a_file_does_not_name_it(tmp_path):
    opens = "def open_executor(*arguments, **options): raise KeyboardInterrupt"
    block = f"from lstm97 import cli, executors\n{opens}\nexecutors.open_executor = open_executor\ncli.main()"
    arguments = ("reproduce", "4-100", "--executor", "processes")
    result = run(*arguments, command=[sys.executable, "-W", "error", "-c", block], cwd=tmp_path)
    assert (result.returncode, result.stdout, result.stderr) == (130, "", "lstm97: interrupted\n")
    assert list(tmp_path.iterdir()) == []


# ---- processes ----


def processes_of(process):
    """The worker processes that a program has started, without helpers of multiprocessing."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(pid) for pid in children if b"spawn_main" in command_of(pid)]


def command_of(pid):
    """A process's command line; empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def ignores_interrupts(pid):
    mask = int(Path(f"/proc/{pid}/status").read_text().partition("SigIgn:")[2].split()[0], 16)
    return mask >> (signal.SIGINT - 1) & 1


@pytest.mark.parametrize("module", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_processes_give_the_records_of_threads(tmp_path, expected, module):
    out = tmp_path / "records"
    command = [sys.executable, "-W", "error", "-m", "lstm97.cli"] if module else COMMAND
    result = run(*SOME, "--executor", "processes", "--jobs", 2, "--out", out, command=command)
    assert (result.returncode, complaints(result.stderr)) == (0, "")
    assert "6 of 6 trials run now" in result.stdout
    assert records_of(out) == expected


@pytest.mark.slow
def test_a_process_that_dies_ends_all_in_one_line_and_resume_continues(tmp_path, expected):
    out = tmp_path / "records"
    with started(*COMMAND, *SOME, "--executor", "processes", "--jobs", 2, "--out", out) as process:
        until(lambda: out.exists() and len(records_of(out)) >= 3, process)
        os.kill(processes_of(process)[0], signal.SIGKILL)
        stdout, stderr = process.communicate(timeout=HANGS)
    assert (process.returncode, stdout) == (1, "")
    assert complaints(stderr).startswith("Error: A process in the process pool was terminated abruptly")
    assert stderr.endswith(f" (what is done is in {out}; --resume goes on with it)\n")
    assert complaints(stderr).count("\n") == 1
    found = records_of(out)
    assert len(found) >= 3
    assert found.items() <= expected.items()
    result = run(*SOME, "--executor", "processes", "--jobs", 2, "--out", out, "--resume")
    assert (result.returncode, complaints(result.stderr)) == (0, "")
    assert f"{6 - len(found)} of 6 trials run now" in result.stdout
    assert records_of(out) == expected


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_processes_end_with_the_one_that_they_work_for(tmp_path, number):
    out = tmp_path / "records"
    with started(*COMMAND, *ENDLESS, "--executor", "processes", "--jobs", 2, "--out", out) as process:
        workers = until(lambda: len(found := processes_of(process)) == 2 and found, process)
        until(lambda: all(map(ignores_interrupts, workers)), process)  # they have begun
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=HANGS)
    if number == signal.SIGINT:
        assert (process.returncode, stdout) == (130, "")
        assert (
            complaints(stderr) == f"lstm97: what is done is in {out}; --resume goes on with it\nlstm97: interrupted\n"
        )
    until(lambda: not any(map(alive, workers)))


# ---- Dask ----


class Cluster:
    """A Dask scheduler and two workers with one thread each, without nannies, which would restart them."""

    def __init__(self, stack, folder, environment):
        self.file = folder / "scheduler.json"
        self._stack = stack
        self._environment = os.environ | environment
        common = ("--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", self.file)
        self.scheduler = self._start("dask_scheduler", "--port", "0", *common)
        until(self.file.exists, self.scheduler)
        worker = ("dask_worker", "--nthreads", "1", "--no-nanny", *common)
        self.workers = {process.pid: process for process in (self._start(*worker) for _ in range(2))}
        self.client = stack.enter_context(distributed.Client(scheduler_file=str(self.file), set_as_default=False))
        self.client.wait_for_workers(2, timeout=HANGS)
        self.address = self.client.scheduler.address
        self._pids = self.client.run(os.getpid)

    def _start(self, name, *options):
        command = (sys.executable, "-m", f"distributed.cli.{name}", *options)
        nowhere = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
        process = subprocess.Popen([*map(str, command)], env=self._environment, **nowhere)
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        return process

    def busy_worker(self):
        """A worker that is training at this moment."""
        for address, tasks in self.client.call_stack().items():
            if any("in train" in frame for frames in tasks.values() for frame in frames):
                return self.workers[self._pids[address]]
        return None


@pytest.fixture
def cluster(tmp_path, request):
    with contextlib.ExitStack() as stack:
        yield Cluster(stack, tmp_path, getattr(request, "param", {}))


@pytest.mark.slow
def test_a_killed_dask_worker_changes_no_record(tmp_path, expected, cluster):
    out = tmp_path / "records"
    options = ("--executor", "dask", "--scheduler", cluster.address, "--out", out)
    with started(*COMMAND, *SOME, *options) as process:
        until(lambda: out.exists() and len(records_of(out)) >= 3, process)
        worker = until(cluster.busy_worker, process)
        before = len(records_of(out))
        worker.kill()
        stdout, stderr = process.communicate(timeout=HANGS)
    assert (process.returncode, complaints(stderr)) == (0, "")
    assert before < 6
    assert "6 of 6 trials run now" in stdout
    assert records_of(out) == expected
    assert sorted(one.poll() is None for one in cluster.workers.values()) == [False, True]


@pytest.mark.slow
@pytest.mark.parametrize("cluster", [{"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0"}], indirect=True)
def test_a_task_that_dask_gives_up_gives_one_line(tmp_path, cluster):
    out = tmp_path / "records"
    options = ("--executor", "dask", "--scheduler", cluster.address, "--out", out)
    with started(*COMMAND, *ENDLESS, *options) as process:
        until(cluster.busy_worker, process).kill()
        stdout, stderr = process.communicate(timeout=HANGS)
    assert (process.returncode, stdout) == (1, "")
    message = "Dask has given up a task: every worker that tried it has died, 1 in all"
    assert complaints(stderr) == f"Error: {message} (what is done is in {out}; --resume goes on with it)\n"


@pytest.mark.slow
def test_a_dask_scheduler_that_dies_gives_one_line(tmp_path, cluster):
    out = tmp_path / "records"
    options = ("--executor", "dask", "--scheduler", cluster.address, "--out", out)
    with started(*COMMAND, *ENDLESS, *options) as process:
        until(cluster.busy_worker, process)
        cluster.client.close()
        cluster.scheduler.kill()
        stdout, stderr = process.communicate(timeout=HANGS)
    assert (process.returncode, stdout) == (1, "")
    message = "Dask has cancelled a task: its scheduler is gone, or was told to"  # after log lines of Dask
    assert stderr.endswith(f"Error: {message} (what is done is in {out}; --resume goes on with it)\n")


@pytest.mark.slow
@pytest.mark.parametrize("cluster", [{"DASK_DISTRIBUTED__SCHEDULER__NO_WORKERS_TIMEOUT": "1s"}], indirect=True)
def test_a_dask_cluster_without_workers_is_waited_for_as_its_scheduler_is_configured(cluster):
    def work():
        with open_executor("dask", scheduler=cluster.address) as executor:
            futures = [executor.submit(time.sleep, HANGS) for _ in range(3)]
            until(lambda: sum(map(len, cluster.client.processing().values())) >= 2)
            for worker in cluster.workers.values():
                worker.kill()
            futures[0].result()

    with pytest.raises(BrokenExecutor, match="no worker for longer than its scheduler's no-workers-timeout"):
        work()


@pytest.mark.slow
def test_a_task_cancelled_by_another_dask_client_is_reported(cluster):
    def wait():
        with open_executor("dask", scheduler=cluster.address) as executor:
            executor.submit(time.sleep, 60).result()

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(wait)
        (key,) = until(lambda: [key for keys in cluster.client.processing().values() for key in keys])
        cluster.client.cancel(distributed.Future(key, cluster.client), force=True)
        with pytest.raises(BrokenExecutor, match="Dask has cancelled a task"):
            waiting.result()


@pytest.mark.slow
def test_networks_trained_on_dask_have_the_bits_of_each_alone(cluster):
    with open_executor("dask", scheduler=cluster.address) as executor:
        for case in CASES:
            assert_as_alone(case, executor=executor)


@pytest.mark.slow
def test_dask_runs_an_equal_task_again(cluster):
    """Otherwise a task that has failed once would fail again without being run."""
    with open_executor("dask", scheduler=cluster.address) as executor:
        futures = [executor.submit(os.urandom, 8) for _ in range(3)]
        assert len({future.result() for future in futures}) == 3


# ---- MPI ----


@pytest.mark.peers
def test_mpi_gives_the_records_of_threads(tmp_path, expected):
    out = tmp_path / "records"
    program = (sys.executable, "-W", "error", "-m", "mpi4py.futures", "-m", "lstm97.cli")
    command = [Path(sysconfig.get_path("scripts"), "mpiexec"), "-n", "3", *program]
    result = run(*SOME, "--executor", "mpi", "--out", out, command=command)
    assert (result.returncode, complaints(result.stderr)) == (0, "")
    assert "6 of 6 trials run now" in result.stdout
    assert records_of(out) == expected
