#!/usr/bin/env bash
# Call the API at random, and load and use mutated files, under the address and the undefined-behaviour sanitizer:
#     tools/fuzz_api.sh RECORD [SECONDS]
# Builds the package with both in an environment of its own, in a temporary folder, from the files that git tracks or
# would track. Then runs one seed after the other, for the API and for the files in turn, each seed with the next build
# of the loops, until SECONDS (an hour by default) are over; JOBS of them at a time. Writes to RECORD, as JSON, what was
# run and found; exit code 1 if there is a finding. FIRST_SEED is the seed to begin with, PYTHON the Python to use,
# COMMIT the commit to name in RECORD if the checkout has no git. Needs GCC.
set -euo pipefail

record=$1 seconds=${2:-3600}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export COMMIT=${COMMIT:-$(git -C "$root" describe --always --dirty)}
mkdir -p "$(dirname "$record")"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
exec </dev/null

mkdir "$scratch/checkout" "$scratch/parts"
(
    cd "$root"
    git ls-files -z --cached --others --exclude-standard |
        while IFS= read -r -d '' file; do
            if [[ -e $file || -L $file ]]; then printf '%s\0' "$file"; fi
        done |
        tar --create --null --files-from=- --file=-
) | tar --extract --directory "$scratch/checkout"
"${PYTHON:-python3}" -m venv "$scratch/environment"
python=$scratch/environment/bin/python
printf 'building\n' >&2
LSTM97_SANITIZE=address,undefined "$python" -m pip install --quiet "$scratch/checkout"
cd "$scratch/checkout/tests/fuzz"

# Small objects come from Python's own allocator, which doubles the speed; arrays come from the sanitizer's.
settings=(
    "LD_PRELOAD=$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)"
    ASAN_OPTIONS=detect_leaks=0:max_allocation_size_mb=512:allocator_may_return_null=1:malloc_context_size=4:quarantine_size_mb=16
    UBSAN_OPTIONS=print_stacktrace=1
    OPENBLAS_NUM_THREADS=1
)
read -ra builds < <(env "${settings[@]}" "$python" -c 'from lstm97._kernel import builds; print(*builds.runnable())')
((${#builds[@]})) || { printf 'the package could not be imported\n' >&2; exit 1; }

# one_seed KIND SEED SECONDS OPTIONS: writes results to a file, and the log of findings to stderr.
one_seed() {
    local kind=$1 seed=$2 left=$3 build
    build=${builds[seed % ${#builds[@]}]}
    printf '%s, seed %d, build %s\n' "$kind" "$seed" "$build" >&2
    env "${settings[@]}" LSTM97_KERNEL="$build" "$python" "fuzz_$kind.py" "${@:4}" --seed "$seed" --seconds "$left" \
        --json "$scratch/parts/$kind-$seed.json" 2>"$scratch/parts/$kind-$seed.log" >/dev/null ||
        grep --invert-match 'WARNING: AddressSanitizer failed to allocate' "$scratch/parts/$kind-$seed.log" |
            tail --lines=100 >&2 || true
}
begin=$SECONDS seed=${FIRST_SEED:-0} started=()
while ((SECONDS < begin + seconds)); do
    for kind in api files; do
        while (($(jobs -rp | wc -l) >= ${JOBS:-1})); do wait -n; done
        left=$((begin + seconds - SECONDS))
        case $kind in
            api) one_seed api "$seed" "$left" --programs 1000 & ;;
            files) one_seed files "$seed" "$left" --files 10000 & ;;
        esac
        started+=("$scratch/parts/$kind-$seed.json")
    done
    seed=$((seed + 1))
done
wait
for part in "${started[@]}"; do
    [[ -e $part ]] || { printf 'there is no result of %s\n' "$(basename "$part" .json)" >&2; exit 1; }
done

cd - >/dev/null
"$python" - "$record" "JOBS=${JOBS:-1} tools/fuzz_api.sh $*" "$(gcc --version | head -n 1)" "${settings[*]}" "${started[@]}" <<'PYTHON'
import json, pathlib, sys

record, command, compiler, settings, *paths = sys.argv[1:]
parts = [(pathlib.Path(path).stem.split("-")[0], json.loads(pathlib.Path(path).read_text())) for path in paths]


def total(values):
    """The sum of numbers, or of dicts of numbers by key; where the key has "peak" in it, the maximum."""
    if not isinstance(values[0], dict):
        return round(sum(values), 1)
    return {
        key: max(value[key] for value in values) if "peak" in key else total([value[key] for value in values])
        for key in values[0]
        if key not in ("about", "seed", "findings")
    }


about = parts[0][1]["about"]
result = {
    "what": "random calls of the API, and mutated files loaded and used, under ASan and UBSan",
    **about,
    "command": command,
    "environment": "LSTM97_SANITIZE=address,undefined for the build; " + settings,
    "compiler": compiler,
    "build of the loops": "in turn: " + ", ".join(sorted({part["about"]["build of the loops"] for _, part in parts})),
}
for kind in ("api", "files"):
    of_kind = [part for each, part in parts if each == kind]
    result[kind] = {"seeds": [part["seed"] for part in of_kind], **total(of_kind)}
result["findings"] = [{"of": kind, "seed": part["seed"], **each} for kind, part in parts for each in part["findings"]]
pathlib.Path(record).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
print(f"{result['api']['programs']} programs, {result['files']['files']} files, {len(result['findings'])} findings")
sys.exit(bool(result["findings"]))
PYTHON
