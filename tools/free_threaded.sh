#!/usr/bin/env bash
# Test the package on a CPython without a GIL, warnings being errors:
#     tools/free_threaded.sh [ARGUMENTS FOR PYTEST]
# From the top of a checkout. FREE_THREADED_PYTHON names such an interpreter; else CPython 3.13t is built from Debian's
# sources, which needs apt-get, tar and a C compiler, and takes some minutes on two cores. Writes only to a temporary
# folder, which it removes. Takes a quarter of an hour; exit code 1 if importing or training turns the GIL on, or a test
# fails.
set -euo pipefail

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
unset PYTHONPATH VIRTUAL_ENV
python -m venv "$scratch/pip"
pip=("$scratch/pip/bin/python" -m pip --disable-pip-version-check)
"${pip[@]}" install --quiet --upgrade pip  # older versions take a free-threaded interpreter for one with a GIL

# Builds CPython 3.13t from Debian's sources; the system's own package lists are not used.
build_python() {
    mkdir -p "$scratch/apt/lists/partial" "$scratch/apt/cache/archives/partial" && cd "$scratch/apt"
    printf 'deb-src http://deb.debian.org/debian trixie main\n' >sources.list
    local apt=(-o Dir::Etc::sourcelist="$PWD/sources.list" -o Dir::Etc::sourceparts=-
        -o Dir::State::lists="$PWD/lists" -o Dir::Cache="$PWD/cache")
    apt-get -q "${apt[@]}" update
    apt-get -q "${apt[@]}" --download-only source python3.13
    mkdir "$scratch/source"
    tar --extract --file python3.13_*.orig.tar.xz --strip-components=1 --directory "$scratch/source"
    cd "$scratch/source"
    {
        ./configure --prefix="$scratch/python" --disable-gil --without-ensurepip --disable-test-modules &&
            make -j2 &&
            make install
    } &>"$scratch/python.log" || { tail -n 30 "$scratch/python.log"; return 1; }
}

if [[ -z ${FREE_THREADED_PYTHON:-} ]]; then
    (build_python)
    FREE_THREADED_PYTHON=$scratch/python/bin/python3.13t
fi
"$FREE_THREADED_PYTHON" -m venv --without-pip "$scratch/env"
python=$scratch/env/bin/python

# Without the package's extras, which have no wheels for free-threaded CPython.
"${pip[@]}" --python "$python" install --quiet --only-binary=:all: \
    'numpy>=2.3' pytest hypothesis joblib cloudpickle 'cython>=3.3,<3.4' setuptools
mkdir "$scratch/checkout"
tar --create --exclude='*.so' --exclude=build --exclude=wheels/.cache --exclude=.git . | tar -x -C "$scratch/checkout"
cd "$scratch/checkout"
"${pip[@]}" --python "$python" install --quiet --no-deps --no-build-isolation .

"$python" -W error - <<'PYTHON'
import importlib, sys
import numpy as np
import lstm97
from lstm97 import many, options

for name in ("methods", "paper", "cluster.executors", "cython_api"):
    importlib.import_module("lstm97." + name)
options.available_cpus = many.available_cpus = lambda: 2
rng = np.random.default_rng(0)
X, D = rng.uniform(-1, 1, (400, 100, 2)), rng.uniform(0, 1, (400, 1))
for how in ({"update": "sequence", "batch_size": 64}, {"parallel": "hogwild"}):
    history = lstm97.train(lstm97.Network(lstm97.Topology(2, 1)), X, D, 0.01, epochs=10, threads=2, **how)
    assert history.sequences == 4000
nets = [lstm97.Network(lstm97.Topology(2, 1), seed=i) for i in range(4)]
lstm97.train_many(nets, (X, D), epochs=10, threads=2)
assert not sys._is_gil_enabled()
print("imported and trained by two threads, the GIL off:", sys.version)
PYTHON

# The tests that need no extra and not safetensors, which has no wheel for free-threaded CPython.
tests=()
for name in threads parallel many network training kernel batches reference golden not_finite bad_input arguments \
    with_block learners recurrent_methods cascade chunker sequences peek advice history; do
    tests+=(tests/*/"test_$name.py")
done
OPENBLAS_NUM_THREADS=1 \
    "$python" -m pytest -q -p no:cacheprovider "$@" "${tests[@]}"
