"""The rig of the stream's tests, for records that are fuzzed."""

from tests.stream.conftest import rig

__all__ = ["rig"]
