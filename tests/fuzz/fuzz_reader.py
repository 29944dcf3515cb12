"""Fuzz the readers of files, guided by coverage: ``python fuzz_reader.py FOUND corpus``, from this folder.

Needs atheris (``pip install atheris``), which runs until it is stopped or has a finding, and adds files that reach new
code to the folder FOUND; it takes libFuzzer's options, such as ``-max_total_time=600``. Every file must load or raise
ValueError. ``python fuzz_reader.py --minimise FOUND corpus`` then puts into the last folder the smallest
files of both that reach the same code. The tests read all of these (test_fuzz.py).
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import warnings
from contextlib import suppress
from pathlib import Path

MOST_BYTES = 8192


def read(data, path):
    """Write data to a path and read it with every reader of files; the learner or network, or None if it is refused."""
    import fuzz_files
    import numpy as np

    from lstm97 import Network, methods

    path.write_bytes(data)
    try:
        net = methods.load(path)
    except ValueError:
        return None
    if isinstance(net, Network):
        fuzz_files.save_and_load(net)
        with suppress(FloatingPointError):
            net.learn(np.zeros(net.topology.n_inputs), None)
    if b'"training"' in data:
        for run in fuzz_files.RUNS:
            path.write_bytes(data)
            with suppress(ValueError, FloatingPointError):
                fuzz_files.train(run, path)
    return net


def first_files(path):
    """Small files of every kind."""
    import fuzz_files
    from learners import LEARNERS

    from lstm97 import methods

    streams, checkpoints = fuzz_files.corpus(path.parent)
    found = [case.data for case in streams + checkpoints]
    rcc = methods.RCC(2, 1, max_units=1, output_epochs=1, candidate_epochs=1)
    for learner in (rcc, *(make() for make in LEARNERS.values())):
        learner.save(path)
        found.append(path.read_bytes())
    return [data for data in found if len(data) <= MOST_BYTES]


# ---- coverage ----


def steps_of(data, path):
    """The steps from line to line of the package's code while it reads a file, as a set."""
    found, last = set(), {}

    def trace(frame, event, argument):
        code = frame.f_code
        if f"{os.sep}lstm97{os.sep}" not in code.co_filename:
            return None
        line = (code.co_filename, frame.f_lineno)
        found.add((last.get(id(frame)), line, event == "exception"))
        last[id(frame)] = line if event != "return" else None
        return trace

    sys.settrace(trace)
    try:
        read(data, path)
    finally:
        sys.settrace(None)
    return found


def minimise(folders, path):
    """Keep in the last folder the smallest files of all folders that together make the same steps as all files."""
    files = {each.read_bytes() for folder in folders if folder.is_dir() for each in folder.iterdir()}
    reached, kept = set(), {}
    for data in sorted(files, key=lambda data: (len(data), data)):
        steps = steps_of(data, path)
        if not steps <= reached:
            reached |= steps
            kept[hashlib.sha256(data).hexdigest()[:16]] = data
    folders[-1].mkdir(exist_ok=True)
    for each in folders[-1].iterdir():
        each.unlink()
    for name, data in kept.items():
        (folders[-1] / name).write_bytes(data)
    print(f"{len(kept)} of {len(files)} files, {sum(map(len, kept.values()))} bytes, {len(reached)} steps")


# ---- fuzzing ----


def mutator(cases):
    """Mutations for atheris: its own, of the bytes or of the header's text, and those of fuzz_files.py."""
    import atheris
    import fuzz_files
    import numpy as np

    def mutate(data, most, seed):
        rng = np.random.default_rng(seed)
        way = rng.integers(5)
        if way == 1:
            text, body = fuzz_files.split(data)
            data = fuzz_files.join(atheris.Mutate(text, most), body)
        elif way == 2:
            data = fuzz_files.one(rng, fuzz_files.OF_BYTES)(rng, data, fuzz_files.one(rng, cases))
        elif way > 2:
            with suppress(Exception):  # damaged data cannot be split into parts
                file = fuzz_files.File(data)
                fuzz_files.one(rng, fuzz_files.OF_PARTS)(rng, file)
                data = file.joined()
        else:
            data = atheris.Mutate(data, most)
        return bytes(data)[:most]

    return mutate


def fuzz(arguments, path):
    """Fuzz until the time is over or there is a finding."""
    import atheris

    with atheris.instrument_imports(include=["lstm97"]):
        import lstm97.checkpoints
        import lstm97.methods
        import lstm97.network  # noqa: F401

    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", "targets from|no target|.* cells are saturated", UserWarning)
    cases = first_files(path)
    folders = [Path(each) for each in arguments if not each.startswith("-")]
    if folders:
        folders[0].mkdir(exist_ok=True)
        for i, data in enumerate(cases):
            (folders[0] / f"first-{i}").write_bytes(data)
    command = [sys.argv[0], f"-max_len={MOST_BYTES}", "-timeout=60", *arguments]
    atheris.Setup(command, lambda data: read(data, path) and None, custom_mutator=mutator(cases))
    atheris.Fuzz()


def main():
    arguments = sys.argv[1:]
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as name:
        path = Path(name) / "file"
        if arguments[:1] == ["--minimise"]:
            minimise([Path(each) for each in arguments[1:]], path)
        else:
            fuzz(arguments, path)


if __name__ == "__main__":
    main()
