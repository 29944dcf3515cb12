"""Executors by name: threads, processes and machines that work for a program, and the build that all of them need.

A task consists of a function, found by its name, and of plain values and bytes in this package's own formats. Every
executor can send those, however it pickles.
"""

from __future__ import annotations

import os
import platform
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from importlib import import_module
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from lstm97._extras import missing
from lstm97.extend import __version__, build, integer, thread_count, usable_cpus

NAMES = ("threads", "processes", "dask", "mpi")


@contextmanager
def open_executor(name: str, *, jobs: int | None = None, scheduler: str | None = None) -> Iterator[Executor]:
    """Open an executor for a ``with`` block, and close it after the block.

    Parameters
    ----------
    name : {"threads", "processes", "dask", "mpi"}
        "threads" and "processes" of this machine, the latter started afresh (not forked). "dask": the workers of a
        Dask cluster, which goes on when this program ends. "mpi": the other processes of a program that was started by
        ``mpiexec -n N python -m mpi4py.futures ...``.
    jobs : int, optional
        How many threads or processes: by default as many as the environment variable ``LSTM97_NUM_THREADS`` says, else
        one for each CPU this process may use. Dask and MPI have theirs already.
    scheduler : str, optional
        Address of Dask's scheduler, such as ``tcp://host:8786``; for "dask" only, which needs it.

    Yields
    ------
    concurrent.futures.Executor

    Raises
    ------
    TypeError, ValueError
        If an argument or the environment variable is not as above, or this program was not started as "mpi" needs it.
    ImportError
        If a package is missing (ModuleNotFoundError: Dask's comes with the extra ``dask``, MPI's with ``mpi``) or the
        MPI library is.
    OSError
        If the scheduler cannot be reached.
    concurrent.futures.BrokenExecutor
        From the block, if workers are lost for good. When a Dask worker dies, its tasks are begun anew on other
        workers; the other executors end all tasks when one of their workers dies.

    Notes
    -----
    While a Dask cluster has no worker, even because its only one has died, Dask waits for another to come. How long it
    waits is a setting of its scheduler, ``distributed.scheduler.no-workers-timeout``; how many workers may die with the
    same task is another, ``distributed.scheduler.allowed-failures``, by default 3.

    When an exception leaves the block, no other task is begun. Tasks that run in threads and on MPI are waited for;
    tasks that run on Dask go on, but their results are lost; processes are ended at once, as they are when this program
    dies.
    """
    check_options(name, jobs=jobs, scheduler=scheduler)
    if name == "dask":
        yield from _dask(scheduler)
    elif name == "mpi":
        yield from _mpi()
    else:
        n = thread_count(jobs, usable_cpus())
        yield from _closing(ThreadPoolExecutor(n)) if name == "threads" else _processes(n)


def check_options(name: str, *, jobs: int | None, scheduler: str | None) -> None:
    """Raise the TypeError or ValueError with which `open_executor` would refuse these options."""
    if name not in NAMES:
        raise ValueError(f"executor is {name!r}, expected one of {', '.join(map(repr, NAMES))}")
    if name in ("dask", "mpi") and jobs is not None:
        raise ValueError(f"jobs is {jobs}, but an executor {name!r} has the workers it has; leave it out")
    if (scheduler is None) == (name == "dask"):
        raise ValueError(
            "an executor 'dask' needs the address of its scheduler, such as scheduler='tcp://host:8786'"
            if name == "dask"
            else f"scheduler is {scheduler!r}, but an executor {name!r} has none; leave it out"
        )
    if scheduler is not None and not scheduler.rpartition(":")[2].isdigit():  # Dask would complain after a minute
        raise ValueError(f"scheduler is {scheduler!r}, expected an address such as tcp://host:8786")
    if jobs is not None:
        integer("jobs", jobs, at_least=1)


def _closing(executor: Executor) -> Iterator[Executor]:
    """Shut an executor down in the end, without beginning the tasks that wait."""
    try:
        yield executor
    finally:
        executor.shutdown(cancel_futures=True)


class _EndingProcesses(ProcessPoolExecutor):
    """A pool of processes that start with the first task; the death of one ends all tasks, begun or not."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        with _nothing_from_the_current_folder():
            super().__init__(*arguments, **options)
        self._begun = False

    def submit(self, fn: Callable[..., Any], /, *arguments: Any, **options: Any) -> Future[Any]:
        """Submit a task, as to any executor."""
        if self._begun:
            return super().submit(fn, *arguments, **options)
        with _nothing_from_the_current_folder():
            self._begun = True
            return super().submit(fn, *arguments, **options)


@contextmanager
def _nothing_from_the_current_folder() -> Iterator[None]:
    """Let processes that start meanwhile import nothing from the current folder, unless this process does.

    multiprocessing starts a process as ``python -c``, which would look for the module `multiprocessing` in the current
    folder first; later the process is given the `sys.path` of this one.
    """
    name = "PYTHONSAFEPATH"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _processes(n: int) -> Iterator[Executor]:
    """Processes that end with this one, which alone has the writing end of a pipe that they read from."""
    context = get_context("spawn")
    reader, writer = context.Pipe(duplex=False)
    executor = _EndingProcesses(n, context, initializer=_begin_process, initargs=(reader,))
    with reader, writer:
        try:
            yield executor
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            raise
        executor.shutdown()


def _begin_process(reader: Connection) -> None:
    """In a worker process: leave Ctrl-C to the parent process, and end when that ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_process, args=(reader,), daemon=True).start()


def _end_process(reader: Connection) -> None:
    """Wait for the end of the parent process, then end this one."""
    with suppress(EOFError, OSError):
        reader.recv_bytes()  # nothing is ever written: this returns when the parent's end of the pipe is closed
    os._exit(1)


def _dask(scheduler: str | None) -> Iterator[Executor]:
    """The workers of a Dask cluster."""
    distributed = _package("distributed", "dask")
    names = ("NoWorkerError", "NoValidWorkerError")  # older versions of distributed lack one or both
    no_worker = tuple(getattr(distributed.scheduler, name) for name in names if hasattr(distributed.scheduler, name))
    with distributed.Client(scheduler, set_as_default=False) as client:
        try:
            # Not pure: every task is run, also one that failed before, or whose result another client has already.
            yield client.get_executor(pure=False)
        except distributed.scheduler.KilledWorker as error:
            n = error.allowed_failures + 1
            raise BrokenExecutor(
                f"Dask has given up a task: every worker that tried it has died, {n} in all"
            ) from error
        except CancelledError as error:
            raise BrokenExecutor("Dask has cancelled a task: its scheduler is gone, or was told to") from error
        except no_worker as error:
            raise BrokenExecutor(
                "Dask has given up a task: it has had no worker for longer than its scheduler's no-workers-timeout"
            ) from error


def _mpi() -> Iterator[Executor]:
    """The other processes of an MPI program."""
    try:
        futures = _package("mpi4py.futures", "mpi")
        n_processes = import_module("mpi4py.MPI").COMM_WORLD.Get_size()
    except ModuleNotFoundError:
        raise
    except (ImportError, RuntimeError) as error:  # one or the other, depending on how mpi4py was built
        cause = str(error).partition("\n")[0]
        raise ImportError(
            f"an executor 'mpi' needs an MPI library, which mpi4py does not bring ({cause}); install one, as a package "
            "of the system or by pip install mpich"
        ) from error
    if "mpi4py.futures" not in sys.orig_argv or n_processes < 2:
        raise ValueError(
            "an executor 'mpi' needs a program started as mpiexec -n 3 python -m mpi4py.futures -m lstm97.cli, with 2 "
            "or more processes, all of them but one to work"
        )
    yield from _closing(futures.MPIPoolExecutor())


def _package(name: str, extra: str) -> Any:
    """Import a package that comes with an extra of lstm97."""
    try:
        return import_module(name)  # not by a statement: types are checked without it too
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(missing(f"an executor {extra!r}", error.name, extra), name=error.name) from error


def give_up(executor: Executor, futures: Iterable[Future[Any]], error: BaseException) -> None:
    """Cancel the tasks that an executor has not begun, after an error.

    A pool whose processes have died, or are ended because of the error, ends its tasks itself. If they were cancelled
    here, the managing thread of CPython 3.11's pool would print a traceback for each, as it cannot set the result of a
    task that is cancelled already.
    """
    if not isinstance(error, BrokenProcessPool) and not isinstance(executor, _EndingProcesses):
        for future in futures:
            future.cancel()


# ---- the same build everywhere ----


def this_build() -> list[str]:
    """Version, build of the loops, kind of CPU: where these are the same, a task comes to the same bits."""
    return [__version__, build, platform.machine()]


def check_build(wanted: list[str]) -> None:
    """In a worker: raise BrokenExecutor unless its build is the one that the calling program has."""
    if wanted != (found := this_build()):
        raise BrokenExecutor(
            f"a worker has lstm97 {found[0]} with the build {found[1]} on {found[2]}, this program {wanted[0]} with "
            f"{wanted[1]} on {wanted[2]}; install the same version for both, and set LSTM97_KERNEL to a build that "
            "both can run"
        )
