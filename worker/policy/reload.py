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
        self._seen = b""  # and of what the last look saw
        self._refused: tuple[bytes, PolicyError] | None = None

    def first(self) -> PolicyStore:
        """The policies as they are now. Raises PolicyError."""
        texts = read_texts(self._path)
        policies = PolicyStore.from_texts(texts)
        self._acting = self._seen = digest_of(texts)
        return policies

    def look(self) -> PolicyStore | None:
        """The new policies, once two looks in a row have seen the same content; None where there are none to take.

        Raises PolicyError where what is there cannot be used, at each look.
        """
        try:
            texts = read_texts(self._path)
        except PolicyError:
            self._seen = b""
            raise
        seen_before, self._seen = self._seen, digest_of(texts)
        if self._seen == self._acting or self._seen != seen_before:
            return None
        policies = self._whole(texts)
        self._acting = self._seen
        return policies

    @property
    def in_place(self) -> bool:
        """Whether the last look saw what was taken last."""
        return self._seen == self._acting

    def _whole(self, texts: Texts) -> PolicyStore:
        if self._refused and self._refused[0] == self._seen:  # it takes a second to find 10,000 policies wrong
            raise self._refused[1]
        try:
            return PolicyStore.from_texts(texts)
        except PolicyError as error:
            self._refused = self._seen, error
            raise
