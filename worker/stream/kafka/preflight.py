"""Checks before the worker consumes: every fault that would stop it, each on one line, with what to do about it."""

import asyncio
import math
import shlex
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from aiokafka.client import AIOKafkaClient
from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    KafkaConnectionError,
    KafkaError,
    LeaderNotAvailableError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.metadata import MetadataRequest

from worker.stream.kafka.cluster import Operations, TopicMetadata, connected, group_operations, topic_metadata
from worker.stream.kafka.oauth import TokenEndpointAway, TokenProvider, TokenUnavailable

_T = TypeVar("_T")
_BACKOFF_S = 0.1
_SILENCE: Final = math.inf  # seconds of patience with brokers that are away, however long that takes
_NOT_YET: Final = 120.0  # and with ones that answer, but not as Kafka does when it is ready
_CREATE = "create it with `moderation-worker topics create`"


@dataclass(frozen=True, slots=True)
class Fault:
    """One reason why the worker cannot do its work. `str()` is one line."""

    what: str
    """The thing at fault, such as `topic chat.events`."""
    why: str
    """What is wrong with it; reads on after `what`."""
    remedy: str
    """What a person can do about it."""
    patience: float = 0.0
    """Seconds for which it may be nothing but a broker that is away or just starts; infinite for mere silence."""

    def __str__(self) -> str:
        return " ".join(f"{self.what} {self.why}: {self.remedy}".split())  # a broker's words may hold line breaks


class KafkaNotReady(Exception):
    """Topics or rights are missing, or no broker answers; the message has each fault."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("; ".join(map(str, faults)))
        self.faults = tuple(faults)


async def preflight(
    *,
    bootstrap_servers: str,
    security: Mapping[str, Any],
    group: str | None,
    reads: Sequence[str],
    writes: Sequence[str],
    timeout: float = 20.0,  # noqa: ASYNC109 - for many steps together, and the answer is a fault
) -> list[Fault]:
    """What would keep a worker from its work; empty if nothing would. Raises nothing that a cluster can cause.

    A broker that does not tell what a client may do (older than Kafka 2.3) is believed to allow everything: the worker
    then finds out by itself.

    Args:
        bootstrap_servers: `host:port[,host:port...]`.
        security: aiokafka's connection keywords (`security_protocol`, `ssl_context`, `sasl_...`).
        group: the consumer group; need not exist yet. None: no group is used.
        reads: input topics.
        writes: output topics.
        timeout: seconds for everything together. A cluster that is still starting is asked again until then.
    """
    check = _Check(bootstrap_servers, security, asyncio.get_running_loop().time() + timeout)
    try:
        async with asyncio.timeout(timeout + 1.0):  # for what has no deadline of its own
            return await check.connection() or await check.rights(group, reads, writes)
    except TimeoutError:
        remedy = "check the brokers and the network"
        return [Fault(check.cluster, f"did not answer within {timeout:g} s", remedy, _SILENCE)]
    except (KafkaError, OSError) as error:
        # Reachable by its bootstrap address a moment ago: what fails now is the way to the brokers that it named.
        remedy = "check that the brokers' advertised.listeners can be reached from here and are named in certificates"
        why = f"takes connections but its brokers do not answer ({_words(error)})"
        return [Fault(check.cluster, why, remedy, _patience_with_brokers(error))]


class _Check:
    """One preflight of one cluster, until a deadline of the loop's clock."""

    def __init__(self, bootstrap_servers: str, security: Mapping[str, Any], deadline: float) -> None:
        self.cluster = f"Kafka at {bootstrap_servers}"
        self._servers = bootstrap_servers
        self._security = security
        self._deadline = deadline
        self._tokens: TokenProvider | None = security.get("sasl_oauth_token_provider")

    @property
    def _user(self) -> str | None:
        """As whom the broker is likely to know us; with TLS alone only the broker can tell."""
        user: str | None = self._tokens.subject if self._tokens else self._security.get("sasl_plain_username")
        return user

    @property
    def _principal(self) -> str:
        if self._user:
            return f"User:{self._user}"
        return "this worker's certificate" if self._security.get("security_protocol") == "SSL" else "this worker"

    async def connection(self) -> list[Fault]:
        """Why no bootstrap server takes the connection, a fault for each; empty as soon as one does."""
        faults = []
        hosts = collect_hosts(self._servers, randomize=False)
        for host, port, _ in hosts:
            limit = min(10.0, self._left() / len(hosts))
            try:
                await self._knock(host, port, limit)
            except (KafkaError, OSError, EOFError, TimeoutError) as error:
                why, remedy = self._explain(error, limit)
                faults.append(Fault(f"broker {host}:{port}", why, remedy, self._patience(error)))
            else:
                return []
        return faults

    async def rights(self, group: str | None, reads: Sequence[str], writes: Sequence[str]) -> list[Fault]:
        """Missing topics and missing rights."""
        limit = max(1.0, min(10.0, self._left()))
        async with connected(self._servers, self._security, request_timeout=limit) as client:
            topics = await self._patiently(lambda: _settled_topics(client, [*reads, *writes]))
            faults = []
            for topic in topics.values():
                wanted = [Operations.READ] * (topic.name in reads) + [Operations.WRITE] * (topic.name in writes)
                faults += self._topic_faults(topic, wanted)
            return faults + (await self._group_faults(client, group) if group is not None else [])

    def _topic_faults(self, topic: TopicMetadata, wanted: Sequence[Operations]) -> list[Fault]:
        what = f"topic {topic.name}"
        if topic.error is UnknownTopicOrPartitionError:
            return [Fault(what, "does not exist", _CREATE)]
        if topic.error is TopicAuthorizationFailedError:
            return [self._no_right(what, right, f"--topic {shlex.quote(topic.name)}") for right in wanted]
        if topic.error is not None:
            return [Fault(what, f"cannot be used ({topic.error.__name__})", "check its name and the brokers' health")]
        missing = [right for right in wanted if topic.operations is not None and right not in topic.operations]
        return [self._no_right(what, right, f"--topic {shlex.quote(topic.name)}") for right in missing]

    async def _group_faults(self, client: AIOKafkaClient, group: str) -> list[Fault]:
        what, resource = f"group {group}", f"--group {shlex.quote(group)}"
        try:
            operations = await self._patiently(lambda: group_operations(client, group))
        except GroupAuthorizationFailedError:
            return [self._no_right(what, Operations.READ, resource)]
        except (KafkaError, OSError) as error:
            why = f"has no coordinator that answers ({_words(error)})"
            return [Fault(what, why, "check the brokers' health", _patience_with_brokers(error))]
        if operations is None or Operations.READ in operations:
            return []
        return [self._no_right(what, Operations.READ, resource)]

    def _no_right(self, what: str, right: Operations, resource: str) -> Fault:
        principal = shlex.quote(f"User:{self._user or 'NAME'}")
        operation = str(right.name).capitalize()
        remedy = f"grant it with `kafka-acls --add --allow-principal {principal} --operation {operation} {resource}`"
        return Fault(what, f"gives {self._principal} no {right.name} permission", remedy)

    async def _knock(self, host: str, port: int, limit: float) -> None:
        """Connect, log in and ask a question, in `limit` seconds. aiokafka's own bootstrap only logs why it fails."""
        async with asyncio.timeout(limit):
            connection = await create_conn(host, port, request_timeout_ms=int(limit * 1000), **self._security)
            try:
                await connection.send(MetadataRequest([]))
                if self._tokens:  # aiokafka overlooks that one is rejected, until the broker hangs up after a request
                    await connection.send(MetadataRequest([]))
            finally:
                connection.close()

    def _patience(self, error: Exception) -> float:
        """How long a connection may fail like this before it is more than a broker that is away, stops or starts."""
        if isinstance(error, ssl.SSLError) or isinstance(error.__cause__, ssl.SSLError):
            return 0.0
        if isinstance(error, KafkaConnectionError | EOFError | ConnectionResetError):
            return 0.0 if self._tokens else _NOT_YET  # so a broker rejects a token, too
        return _SILENCE if isinstance(error, OSError | TokenEndpointAway) else 0.0

    def _explain(self, error: Exception, limit: float) -> tuple[str, str]:
        """Why a connection failed and what to do."""
        words, protocol = _words(error), self._security.get("security_protocol", "PLAINTEXT")
        match error:
            case TokenUnavailable():
                why = f"cannot be logged in to, for want of a token ({error.args[0]})"
                return why, "check the sasl_oauth_ settings"
            case SaslAuthenticationFailed() if self._tokens:
                return f"rejects {self._tokens.words} ({words})", "check its audience and issuer, and the clocks"
            case SaslAuthenticationFailed():
                return f"rejects the login of {self._principal} ({words})", "check the user name and the password"
            case UnsupportedSaslMechanismError():
                return f"does not take this SASL mechanism ({words})", "choose another mechanism or another port"
            case ssl.SSLCertVerificationError():
                why = f"shows a certificate that is not trusted ({error.verify_message})"
                return why, "check ssl_ca_file, and that the broker's certificate names this host and has not expired"
            case ssl.SSLError():
                return f"fails the TLS handshake ({words})", "check that this port speaks TLS, with this certificate"
            case TimeoutError():
                return f"did not answer within {limit:g} s", f"check address, firewall and that it speaks {protocol}"
            case OSError() if not isinstance(error, ConnectionResetError):
                return f"cannot be reached ({words})", "check the address and that the broker runs"
            case _:
                return self._broken_off(error, protocol)

    def _broken_off(self, error: Exception, protocol: str) -> tuple[str, str]:
        """A broker that closes the connection says why in TLS's own words at most."""
        if isinstance(error.__cause__, ssl.SSLError):  # TLS 1.3 tells a client only after the handshake
            remedy = "check ssl_cert_file and ssl_key_file, and that the broker trusts who signed the certificate"
            return f"refuses the client certificate, or wants one ({_words(error.__cause__)})", remedy
        if self._tokens:  # aiokafka does not read the answer in which a broker rejects a token
            why = f"broke off the conversation, most likely over {self._tokens.words}"
            return why, f"check its audience, issuer and expiry, and that this port speaks {protocol}"
        wants = ", and whether it wants a client certificate" if protocol == "SSL" else ""
        return f"broke off the conversation ({_words(error)})", f"check that this port speaks {protocol}{wants}"

    async def _patiently(self, ask: Callable[[], Awaitable[_T]]) -> _T:
        """Ask again while the cluster says that it is not ready yet; raises its last answer at the deadline."""
        while True:
            try:
                return await ask()
            except KafkaError as error:
                if not error.retriable or self._left() <= _BACKOFF_S:
                    raise
                await asyncio.sleep(_BACKOFF_S)

    def _left(self) -> float:
        return self._deadline - asyncio.get_running_loop().time()


async def _settled_topics(client: AIOKafkaClient, names: Sequence[str]) -> dict[str, TopicMetadata]:
    """The topics; raises LeaderNotAvailableError while one of them is being created."""
    topics = await topic_metadata(client, names)
    for topic in topics.values():
        if topic.error is not None and issubclass(topic.error, LeaderNotAvailableError):
            raise topic.error(topic.name)
    return topics


def _patience_with_brokers(error: Exception) -> float:
    """With brokers behind a bootstrap server that answers; a `KafkaError` knows whether asking again may help."""
    return _NOT_YET if isinstance(error, OSError) or (isinstance(error, KafkaError) and error.retriable) else 0.0


def _words(error: BaseException) -> str:
    """The error's own words, with its name."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    name, words = type(error).__name__, str(error)
    if not words:
        return name
    return words if name in words else f"{name}: {words}"  # aiokafka's errors name themselves
