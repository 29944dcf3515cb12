"""Write src/lstm97/paper/trials/_times.py: how long recorded trials took, for estimates.

Run it from the top of the repository when docs/records/ has new records of trials: python tools/make_times.py
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lstm97.paper import Trial, read_records

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "src" / "lstm97" / "paper" / "trials" / "_times.py"
HEAD = '''\
"""How long recorded trials took. Written by tools/make_times.py from docs/records/*.jsonl.gz; not to be edited."""

MACHINE = "{machine}"

TIMES: dict[tuple[str, str], tuple[float, float, float]] = {{
'''
TAIL = '''\
}
"""By row and reading: share of trials that ended before their cap, their mean sequences, s per 1000 sequences."""
'''


def figures(trials: Sequence[Trial]) -> tuple[float, float, float]:
    """The share of trials that ended before their cap, their mean sequences, and all trials' s per 1000 sequences."""
    ended = [trial.sequences for trial in trials if trial.solved or trial.diverged]
    n_sequences = sum(trial.sequences for trial in trials)
    mean = sum(ended) / len(ended) if ended else 0.0
    return len(ended) / len(trials), mean, 1000 * sum(trial.seconds for trial in trials) / max(n_sequences, 1)


def table(root: Path) -> str:
    """The text of src/lstm97/paper/trials/_times.py."""
    files = sorted((root / "docs" / "records").glob("*.jsonl.gz"))
    trials, runs = read_records(*files)
    (machine,) = {f"{run['processor']}, {run['cores']} cores, build {run['build']}" for run in runs}
    groups: dict[tuple[str, str], list[Trial]] = {}
    for trial in trials:
        groups.setdefault((trial.row, trial.reading), []).append(trial)
    lines = []
    for (row, reading), found in groups.items():
        cap = max(trial.max_sequences for trial in found)
        share, mean, seconds = figures([trial for trial in found if trial.max_sequences == cap])
        lines.append(f'    ("{row}", "{reading}"): ({share:.3g}, {mean:.0f}, {seconds:.3g}),\n')
    return HEAD.format(machine=machine) + "".join(lines) + TAIL


if __name__ == "__main__":
    TARGET.write_text(table(ROOT), encoding="utf-8")
