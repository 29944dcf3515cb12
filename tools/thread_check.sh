#!/usr/bin/env bash
# Run the tests of threads under ThreadSanitizer:
#     tools/thread_check.sh [ARGUMENTS FOR PYTEST]
# From the top of a checkout, with an environment active that has the package as built with LSTM97_SANITIZE=thread
# (CONTRIBUTING.md has the commands). Takes about ten minutes on an idle core; exit code 1 if a test fails or a race is
# found in any process. tools/tsan.supp lists the exceptions. The script first tests itself: without the exceptions it
# must find races of Hogwild.
set -euo pipefail

reports=$(mktemp -d)
trap 'rm -rf "$reports"' EXIT

# under_tsan OPTIONS ARGUMENTS: runs pytest; reports go to one file per process. GCC's libtsan can only name functions
# of modules that are loaded before the first report, so all loops are imported before any test. Steps take dozens of
# times as long as without it, so tests that need long calls make them with a tenth of the steps.
under_tsan() {
    local options=$1
    shift
    env LD_PRELOAD="$(gcc -print-file-name=libtsan.so)" PYTHONMALLOC=malloc OPENBLAS_NUM_THREADS=1 \
        TSAN_OPTIONS="exitcode=0:history_size=4:log_path=$reports/found:$options" \
        python -c '
import sys
import numpy, pytest
from lstm97._kernel.builds import kernel
for dtype in ("float64", "float32"):
    kernel(numpy.dtype(dtype))
class Shorter:
    def pytest_collection_modifyitems(self, items):
        for module in {item.module for item in items if hasattr(item.module, "LONG")}:
            module.LONG = module.LONG[::10]
sys.exit(pytest.main(sys.argv[1:], plugins=[Shorter()]))' -p no:cacheprovider --import-mode=importlib "$@"
}

races() { cat "$reports"/found.* 2>/dev/null | grep -c '^WARNING: ThreadSanitizer' || true; }

# Without the exceptions, races of Hogwild on the weights must be found, and no others: its counts have a lock.
under_tsan suppressions= -q tests/training/test_parallel.py::test_hogwild_counts_everything_once
n_races=$(races)
((n_races)) || { printf 'thread check: Hogwild was not reported, so nothing would be\n' >&2; exit 1; }
awk 'BEGIN { RS = "==================\n" }
     /^WARNING/ && !/_learn_step / { print; bad = 1 }
     END { exit bad }' "$reports"/found.* ||
    { printf 'thread check: a race of Hogwild that is not about weights, see above\n' >&2; exit 1; }
printf 'without the exceptions: %d races, all of them in learn_step\n' "$n_races"
rm "$reports"/found.*

# Left out: tests of forks, as ThreadSanitizer allows no threads after a fork; tests with Ctrl-C or with processes, which
# become too slow for their time limits; Hogwild's 400,000 sequences; tests that are only about the GIL.
tests=(tests/training/test_threads.py tests/training/test_parallel.py tests/training/test_many.py)
left_out='fork or ctrl_c or interrupt or processes or loky or workers or hogwild_learns'
left_out+=' or runs_during_training or makes_progress'
failed=0
under_tsan "suppressions=$PWD/tools/tsan.supp" -k "not ($left_out)" "$@" "${tests[@]}" || failed=1
cat "$reports"/found.* 2>/dev/null || true
printf 'with them: %d races\n' "$(races)"
((!failed && $(races) == 0))
