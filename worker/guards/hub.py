"""The hub: downloads models at a pinned commit, and says in one line what is wrong where it cannot.

HF_ENDPOINT, HF_HOME, HF_TOKEN and HF_HUB_OFFLINE work as everywhere: the hub's client reads them when it is imported.
"""

import errno
import logging
import re
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from worker.guards.errors import ModelUnavailable, first_line

HUB_ID: Final = re.compile(r"[\w][\w.-]*/[\w][\w.-]*")
COMMIT: Final = re.compile(r"[0-9a-f]{40}")
# What a checkpoint needs. Never *.bin, *.pt, *.pkl: loading a pickle runs its author's code.
WANTED_FILES: Final = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model", "tokenizer*")
_REFUSED_FILES: Final = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt", "*.h5", "*.msgpack", "*.onnx", "original/*")
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
# Of libraries in Rust, and of the client's own look at the disk beforehand.
_NO_ROOM_IN_WORDS: Final = ("No space left on device", "Not enough free disk space")


class Hub:
    """The hub as this worker uses it."""

    def __init__(
        self, *, token: str | None = None, cache: Path | None = None, offline: bool = False, endpoint: str | None = None
    ) -> None:
        """`cache` and `endpoint` are the client's own where absent, `token` the one of HF_TOKEN or of a login."""
        self._token, self._cache, self._offline, self._endpoint = token, cache, offline, endpoint

    def download(self, model: str, commit: str) -> Path:
        """The directory of a model at a commit (40 hex digits), complete. Files in the cache are not asked for again.

        Raises ModelUnavailable.
        """
        try:
            path = _client().snapshot_download(
                model,
                revision=commit,
                cache_dir=self._cache,
                token=self._token,
                endpoint=self._endpoint,
                local_files_only=self._offline,
                allow_patterns=list(WANTED_FILES),
                ignore_patterns=list(_REFUSED_FILES),
            )
        except Exception as error:  # of four libraries: whatever it is, a person needs to know what to do
            raise ModelUnavailable(_in_words(error, model, commit, self._offline)) from error
        return Path(path)

    def newest_commit(self, model: str, branch: str = "main") -> str:
        """The commit of a branch or tag of the model, 40 hex digits. Raises ModelUnavailable."""
        if self._offline:
            raise ModelUnavailable(f"{model}: cannot ask for its newest commit offline; set its revision setting")
        try:
            info = _client().HfApi(endpoint=self._endpoint, token=self._token).model_info(model, revision=branch)
        except Exception as error:
            raise ModelUnavailable(_in_words(error, model, branch, self._offline)) from error
        return str(info.sha)


def _client() -> ModuleType:
    """The hub's client. Its log lines go the way of all others, and not a second time to a handler of its own."""
    import huggingface_hub.utils.logging  # which adds the handler

    logging.getLogger("huggingface_hub").handlers.clear()
    return huggingface_hub


def _in_words(error: BaseException, model: str, revision: str, offline: bool) -> str:
    """One line: what is wrong, and what to do."""
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError) or _status(error) == 403:
        return _gated(model)
    if isinstance(error, errors.RevisionNotFoundError):
        return (
            f"{model} has no revision {revision}: check the setting, or remove it and let `moderation-worker models "
            f"fetch` print the newest"
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return (
            f"the hub knows no model {model}, or hides it from you: check its name; where it is gated or private, "
            f"accept its licence on its page and set MODERATION_HF_TOKEN or HF_TOKEN"
        )
    if _status(error) == 401:
        return f"the hub does not accept your token for {model}: set MODERATION_HF_TOKEN or HF_TOKEN to a valid one"
    if isinstance(error, errors.LocalEntryNotFoundError):
        return _not_in_cache(error, model, revision, offline)
    if isinstance(error, errors.HFValidationError):
        return f"{model!r} is not a hub id: `owner/name` is"
    return _trouble(error, model)


def _gated(model: str) -> str:
    return (
        f"{model} is gated: accept Meta's licence on the model's page, then set MODERATION_HF_TOKEN or HF_TOKEN to a "
        f"token of that account which may read gated models"
    )


def _not_in_cache(error: BaseException, model: str, revision: str, offline: bool) -> str:
    cause = error.__cause__
    if cause is None or type(cause).__name__ == "OfflineModeIsEnabled":
        mode = "MODERATION_OFFLINE" if offline else "HF_HUB_OFFLINE"
        return (
            f"{model} at {revision} is not, or not whole, in the cache and {mode} forbids to ask the hub: run "
            f"`moderation-worker models fetch` where there is a network, with the same cache"
        )
    return _in_words(cause, model, revision, offline)


def _trouble(error: BaseException, model: str) -> str:
    """Faults of the machine, the network and the hub itself."""
    code = getattr(error, "errno", None)
    if code in _NO_ROOM or any(words in str(error) for words in _NO_ROOM_IN_WORDS):
        return (
            f"the disk is full: {model} cannot be stored ({_named(error)}); make room, or set "
            f"MODERATION_MODEL_CACHE to another disk; files that are whole are kept"
        )
    if isinstance(error, PermissionError):
        return f"{model} cannot be stored: no permission to write {error.filename}; set MODERATION_MODEL_CACHE"
    status = _status(error)
    if status is not None:
        return f"the hub answered {status} for {model}: run it again later; files that are whole are kept"
    if _never_connected(error):
        return (
            f"the hub cannot be reached for {model} ({_named(error)}): check network, proxy and HF_ENDPOINT, or "
            f"set MODERATION_OFFLINE=true where the model is in the cache"
        )
    return f"the download of {model} broke off ({_named(error)}): run it again; files that are whole are kept"


def _never_connected(error: BaseException) -> bool:
    # By name: which HTTP library raises them depends on the version of the hub's client.
    kinds = {kind.__name__ for kind in type(error).__mro__}
    return bool(kinds & {"ConnectError", "ConnectTimeout", "ProxyError", "OfflineModeIsEnabled", "gaierror"})


def _status(error: BaseException) -> int | None:
    response: Any = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    return status if isinstance(status, int) else None


def _named(error: BaseException) -> str:
    """Its name, and what it says."""
    name, line = type(error).__name__, first_line(error)
    return name if line == name else f"{name}: {line}"
