#!/usr/bin/env bash
# Load a million mutated files under the address and the undefined-behaviour sanitizer, and record how that went:
#     tools/fuzz.sh docs/records/fuzz-YYYY-MM.json [FILES_PER_SEED [SEEDS]]
# From the top of a checkout, with an environment active that has the package as built with
# LSTM97_SANITIZE=address,undefined (CONTRIBUTING.md has the commands). An hour or so on one core, JOBS of which can be
# used; exit code 1 if it found anything. COMMIT says what was built, if the checkout does not.
set -euo pipefail

record=$1 files=${2:-50000} n_seeds=${3:-20}
commit=${COMMIT:-$(git describe --always --dirty)}
parts=$(mktemp -d)
mkdir -p "$(dirname "$record")"
trap 'rm -rf "$parts"' EXIT

# Python's own allocator stays for small objects, at twice the speed: all arrays come from the one the sanitizer watches.
settings=(
    "LD_PRELOAD=$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)"
    ASAN_OPTIONS=detect_leaks=0:max_allocation_size_mb=512:allocator_may_return_null=1:malloc_context_size=4:quarantine_size_mb=16
    UBSAN_OPTIONS=print_stacktrace=1
    OPENBLAS_NUM_THREADS=1
)
read -ra builds < <(env "${settings[@]}" python -c 'from lstm97 import _dispatch; print(*builds.runnable())')
one_seed() {
    local seed=$1
    local build=${builds[seed % ${#builds[@]}]}
    printf 'seed %d, build %s\n' "$seed" "$build" >&2
    env "${settings[@]}" LSTM97_KERNEL="$build" \
        python tests/fuzz_files.py --files "$files" --seed "$seed" --json "$parts/$seed.json" >/dev/null || true
}
for ((seed = 0; seed < n_seeds; seed++)); do
    while (($(jobs -rp | wc -l) >= ${JOBS:-1})); do wait -n; done
    one_seed "$seed" &
done
wait
for ((seed = 0; seed < n_seeds; seed++)); do
    [[ -e $parts/$seed.json ]] # else it did not even begin
done

python - "$record" "$commit" "$(gcc --version | head -n 1)" "${builds[*]}" "${settings[*]}" "$parts"/*.json <<'PYTHON'
import datetime, importlib.metadata, json, pathlib, platform, sys

record, commit, compiler, builds, settings, *parts = sys.argv[1:]
parts = sorted((json.loads(pathlib.Path(part).read_text()) for part in parts), key=lambda part: part["seed"])
processors = [line for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
total = {
    "what": "mutated files loaded and used under ASan and UBSan",
    "command": f"tools/fuzz.sh {record} {parts[0]['files']} {len(parts)}",
    "environment": "LSTM97_SANITIZE=address,undefined for the build; " + settings,
    "commit": commit,
    "date": datetime.date.today().isoformat(),
    "machine": processors[0].partition(":")[2].strip() if processors else platform.machine(),
    "compiler": compiler,
    "versions": {"python": platform.python_version()}
    | {name: importlib.metadata.version(name) for name in ("numpy", "safetensors")},
    "builds of the loops, in turn": builds,
    "seeds": [part["seed"] for part in parts],
    **{key: sum(part[key] for part in parts) for key in ("files", "refused", "loaded")},
    "mutations": {kind: sum(part["mutations"][kind] for part in parts) for kind in parts[0]["mutations"]},
    "findings": [{"seed": part["seed"]} | finding for part in parts for finding in part["findings"]],
    "peak RSS growth in MB": max(part["peak RSS growth in MB"] for part in parts),
    "seconds": round(sum(part["seconds"] for part in parts)),
}
pathlib.Path(record).write_text(json.dumps(total, indent=1) + "\n")
print(total["files"], "files,", len(total["findings"]), "findings")
sys.exit(bool(total["findings"]))
PYTHON
