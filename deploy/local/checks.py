"""`test`, `lint` and `bench`: the project's checks, by the same names here and in CI."""

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from deploy.local.layout import CHECKOUT

__all__ = ["bench", "lint", "run_tests"]

BIN = Path(sys.executable).parent


_TWO_AT_A_TIME = ("-n", "2", "--dist", "loadgroup")
_ONE_AT_A_TIME = {"--full", "-n", "-s", "--pdb", "-p", "--collect-only", "--co"}
"""With one of these there is one process: what is long measures, and a debugger needs the terminal."""


def run_tests(arguments: Sequence[str]) -> int:
    """Most tests wait for something most of their time: two processes take half as long on two cores."""
    alone = not _ONE_AT_A_TIME.isdisjoint(arguments)
    several = () if alone else _TWO_AT_A_TIME
    return subprocess.run([sys.executable, "-m", "pytest", *several, *arguments], cwd=CHECKOUT, check=False).returncode


def lint() -> int:
    """Every step, also after a failed one, so that one run shows all there is to mend."""
    scripts = [str(file) for file in (CHECKOUT / "deploy/dev", CHECKOUT / ".ci/run") if file.exists()]
    steps = {
        "ruff check": ["ruff", "check", "."],
        "ruff format": ["ruff", "format", "--check", "."],
        "mypy": ["mypy"],
        "import-linter": ["lint-imports"],
        "shellcheck": ["shellcheck", *scripts],
    }
    failed: list[str] = []
    for name, (program, *arguments) in steps.items():
        began = time.monotonic()
        done = subprocess.run([str(BIN / program), *arguments], cwd=CHECKOUT, check=False, capture_output=True, text=True)
        seconds = time.monotonic() - began
        print(f"{'ok    ' if done.returncode == 0 else 'FAILED'} {name} ({seconds:.1f} s)", flush=True)
        if done.returncode != 0:
            failed.append(name)
            print(done.stdout + done.stderr, flush=True)
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


def bench(name: str | None, arguments: Sequence[str]) -> int:
    known = sorted(file.stem for file in (CHECKOUT / "tests/bench").glob("*.py") if not file.stem.startswith("_"))
    if name is None:
        print("\n".join(known) or "there are no benchmarks")
        return 0
    if name not in known:
        print(f"there is no benchmark {name!r}; there are: {', '.join(known) or 'none'}", file=sys.stderr)
        return 2
    return subprocess.run([sys.executable, "-m", f"tests.bench.{name}", *arguments], cwd=CHECKOUT, check=False).returncode
