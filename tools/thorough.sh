#!/usr/bin/env bash
# Run every test, each property with ten times the usual number of examples, for every build of the loops that this CPU
# can run:
#     tools/thorough.sh [RECORD]
# From the top of a checkout, with an environment active that has the package with its extras `test` and `peers`. The
# output also goes to the file RECORD. The comparison with deep-river is left out: it needs another PyTorch.
set -euo pipefail

[[ $# == 0 ]] || exec > >(tee "$1") 2>&1
printf 'commit %s\n' "$(git describe --always --dirty)"
python -c 'import platform, lstm97; print(platform.processor() or platform.machine(), platform.python_version()); print(lstm97.show_config())'

# thoroughly ARGUMENTS: runs pytest on all cores, with ten times the examples.
thoroughly() {
    printf '\n$ %spython -m pytest -n auto --hypothesis-profile thorough %s\n' "${LSTM97_KERNEL:+LSTM97_KERNEL=$LSTM97_KERNEL }" "$*"
    python -m pytest -q -n auto --hypothesis-profile thorough --durations=10 "$@"
}

thoroughly -m 'not deep_river'
chosen=$(python -c 'import lstm97; print(lstm97.show_config().build)')
builds=$(python -c 'from lstm97._kernel import builds; print(*builds.runnable())')
for build in $builds; do
    [[ $build == "$chosen" ]] || LSTM97_KERNEL=$build thoroughly -m 'not deep_river and not peers and not slow'
done
