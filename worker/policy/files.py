"""Files: the policies file, or a directory of them, as text; read whole, and whole again where it changes."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from worker.policy.errors import PolicyError

_SUFFIX: Final = "*.toml"

Texts = Mapping[Path, bytes]


def read_texts(path: Path) -> Texts:
    """The content of the file, or of each *.toml file directly in the directory, in the order of their names.

    Raises PolicyError.
    """
    try:
        if not path.is_dir():
            return {path: path.read_bytes()}
        # Kubernetes keeps the real files of a ConfigMap in hidden directories beside the links to them.
        files = sorted(each for each in path.glob(_SUFFIX) if not each.name.startswith("."))
        texts = {each: each.read_bytes() for each in files}
    except OSError as error:
        raise PolicyError.of(path, f"cannot read the policies file: {error.strerror or error}") from None
    if not texts:
        raise PolicyError.of(path, f"cannot read the policies: no {_SUFFIX} file is in this directory")
    return texts


def digest_of(texts: Texts) -> bytes:
    """A digest of the contents and the names."""
    digest = hashlib.sha256()
    for path, content in texts.items():
        digest.update(hashlib.sha256(str(path).encode("utf-8", "surrogateescape")).digest())
        digest.update(hashlib.sha256(content).digest())
    return digest.digest()
