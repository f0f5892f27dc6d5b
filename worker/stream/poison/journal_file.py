"""The journal's file: one of a few numbered ones, held by a lock for as long as its process lives."""

import fcntl
import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_MOST_FILES = 1000


@dataclass(frozen=True, slots=True)
class JournalFile:
    """An open file that no other live process holds."""

    descriptor: int
    path: Path

    def set_aside(self) -> Path:
        """Renames it to `….corrupt`, over an older one, and gives it up. Raises OSError."""
        aside = self.path.with_suffix(".corrupt")
        try:
            self.path.replace(aside)
        finally:
            os.close(self.descriptor)
        return aside


def default_directory() -> Path:
    """Where journals are kept if the settings do not say: under the system's temporary directory."""
    return Path(tempfile.gettempdir()) / f"moderation-worker-{os.getuid()}" / "journal"


def claim(directory: Path, group: str, topic: str) -> JournalFile:
    """A file for a worker of this group on this topic: of those that no live worker holds the one written last, which
    is the one of the worker that died last and is most probably ours; else a new one. Raises OSError.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    stem = _stem(group, topic)
    for path in (*_written_last_first(directory, stem), *_numbered(directory, stem)):
        descriptor = _locked(path)
        if descriptor is not None:
            return JournalFile(descriptor, path)
    raise OSError(f"all {_MOST_FILES} journals in {directory} are held by other workers")


def contents(directory: Path, group: str, topic: str, most_bytes: int) -> Iterator[tuple[bytes, bool]]:
    """What all journals of this group on this topic say, none larger than `most_bytes`, and whether the worker of each
    is alive."""
    for path in _written_last_first(directory, _stem(group, topic)):
        try:
            if path.stat().st_size > most_bytes:
                continue
            descriptor = _locked(path)
            yield path.read_bytes(), descriptor is None
        except OSError:  # set aside or removed meanwhile
            continue
        if descriptor is not None:
            os.close(descriptor)


def _stem(group: str, topic: str) -> str:
    digest = hashlib.blake2b(f"{group}\0{topic}".encode(), digest_size=6).hexdigest()
    return re.sub(r"[^A-Za-z0-9_-]", "_", group)[:60] + "-" + digest


def _written_last_first(directory: Path, stem: str) -> list[Path]:
    written: list[tuple[int, Path]] = []
    for path in directory.glob(f"{stem}.*.journal"):
        try:
            written.append((path.stat().st_mtime_ns, path))
        except FileNotFoundError:  # set aside meanwhile
            continue
    return [path for _, path in sorted(written, reverse=True)]


def _numbered(directory: Path, stem: str) -> Iterator[Path]:
    return (directory / f"{stem}.{number}.journal" for number in range(_MOST_FILES))


def _locked(path: Path) -> int | None:
    """The open file; None where another process holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_ino == path.stat().st_ino:
            return descriptor
    except (BlockingIOError, FileNotFoundError):  # held, or set aside between our open and our lock
        pass
    except OSError:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None
