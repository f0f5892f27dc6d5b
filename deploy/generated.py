"""Files that are generated and checked in."""

import sys
from pathlib import Path


def write_or_check(target: Path, text: str) -> None:
    """Writes the file; with `--check` on the command line, ends with 1 where it differs."""
    if "--check" not in sys.argv[1:]:
        target.write_text(text, encoding="utf-8")
    elif not target.exists() or target.read_text(encoding="utf-8") != text:
        sys.exit(f"{target.name} differs from what is generated: run `make schemas`")
