"""The one check command: `python -m tests`. Format, lint, strict types, tests; the first failure ends it.

Arguments go to pytest: `python -m tests -k sse`.
"""

from __future__ import annotations

import subprocess
import sys

STEPS = (
    ("format", ["ruff", "format", "--check", "."]),
    ("lint", ["ruff", "check", "."]),
    ("types", ["mypy"]),
    ("tests", ["pytest"]),
)


def main() -> int:
    for name, command in STEPS:
        print(f"== {name}", flush=True)
        extra = sys.argv[1:] if name == "tests" else []
        code = subprocess.run([sys.executable, "-m", *command, *extra], check=False).returncode
        if code:
            print(f"== {name} failed", flush=True)
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
