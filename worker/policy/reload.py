"""Reload: policies that changed on disk, whole or not at all. Pure: it is told when to look."""

from pathlib import Path

from worker.policy.errors import PolicyError
from worker.policy.files import Texts, digest_of, read_texts
from worker.policy.store import PolicyStore


class PolicyReload:
    """The policies at a path, and whether what is there now differs from what was taken last.

    Contents are compared, not times: Kubernetes swaps a link above the file and leaves its times as they please.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._acting = b""  # digest of what was taken last
        self._seen: bytes | str = b""  # and of what the last look saw, or why it saw nothing
        self._refused: tuple[bytes, PolicyError] | None = None

    def first(self) -> PolicyStore:
        """The policies as they are now. Raises PolicyError."""
        texts = read_texts(self._path)
        policies = PolicyStore.from_texts(texts)
        self._acting = self._seen = digest_of(texts)
        return policies

    def look(self) -> PolicyStore | None:
        """The new policies, once two looks in a row have seen the same content; None where there are none to take.

        Raises PolicyError where what is there cannot be used, from the second look in a row on that sees it: a file
        that is moved into its place is gone for a moment.
        """
        seen_before = self._seen
        try:
            texts = read_texts(self._path)
        except PolicyError as error:
            self._seen = str(error)
            if self._seen == seen_before:
                raise
            return None
        digest = self._seen = digest_of(texts)
        if digest == self._acting or digest != seen_before:
            return None
        policies = self._whole(texts, digest)
        self._acting = digest
        return policies

    @property
    def in_place(self) -> bool:
        """Whether the last look saw what was taken last."""
        return self._seen == self._acting

    def _whole(self, texts: Texts, digest: bytes) -> PolicyStore:
        if self._refused and self._refused[0] == digest:  # it takes a second to find 10,000 policies wrong
            raise self._refused[1]
        try:
            return PolicyStore.from_texts(texts)
        except PolicyError as error:
            self._refused = digest, error
            raise
