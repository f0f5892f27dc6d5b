"""Preflight against real brokers: nothing to say when all is well, one right line for every fault."""

import math
import ssl
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from aiokafka.errors import IncompatibleBrokerVersion, NodeNotReadyError
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)

from worker.local.broker import KafkaUnavailable, LocalKafka
from worker.local.jvm_broker import JvmBroker
from worker.local.ports import free_ports
from worker.stream.kafka import cluster
from worker.stream.kafka import preflight as module
from worker.stream.kafka.cluster import TopicMetadata
from worker.stream.kafka.preflight import Fault, preflight

OUTPUTS = ("verdicts.safe", "verdicts.unsafe")


def lines(faults: list[Fault]) -> list[str]:
    return [str(fault) for fault in faults]


def test_a_fault_is_one_line() -> None:
    fault = Fault("broker b:1", "broke off (Error\n  58)", "check it")
    assert str(fault) == "broker b:1 broke off (Error 58): check it"


# -- an open cluster


async def test_all_is_well(kafka: LocalKafka, topics: Callable[..., str]) -> None:
    events, safe = topics(2), topics()
    assert await check(kafka.bootstrap_servers, reads=[events], writes=[safe]) == []


async def test_missing_topics_are_named_each(kafka: LocalKafka, topics: Callable[..., str]) -> None:
    faults = await check(kafka.bootstrap_servers, reads=["chat.nothing"], writes=[topics(), "verdicts.nothing"])
    assert lines(faults) == [
        "topic chat.nothing does not exist: create it with `moderation-worker topics create`",
        "topic verdicts.nothing does not exist: create it with `moderation-worker topics create`",
    ]
    assert [fault.patience for fault in faults] == [0, 0]


async def test_unreachable_port() -> None:
    nobody, nobody_else = (f"127.0.0.1:{port}" for port in free_ports(2))
    faults = await check(f"{nobody},{nobody_else}")
    assert [fault.what for fault in faults] == [f"broker {nobody}", f"broker {nobody_else}"]
    for fault in faults:
        assert "cannot be reached" in fault.why and fault.remedy == "check the address and that the broker runs"
        assert fault.patience == math.inf


async def test_one_reachable_server_is_enough(kafka: LocalKafka, topics: Callable[..., str]) -> None:
    name = topics()
    servers = f"127.0.0.1:{free_ports(1)[0]},{kafka.bootstrap_servers}"
    assert await check(servers, reads=[name], writes=[name]) == []


async def test_tls_asked_of_a_port_without_it(kafka: LocalKafka) -> None:
    security = {"security_protocol": "SSL", "ssl_context": ssl.create_default_context()}
    (fault,) = await check(kafka.bootstrap_servers, security=security, timeout=30)
    assert str(fault).startswith(f"broker {kafka.bootstrap_servers} ")
    assert "TLS" in fault.remedy or "SSL" in fault.remedy


async def test_a_broker_that_does_not_tell_rights_is_believed(
    kafka: LocalKafka, topics: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Kafka before 2.3, or one whose answer is -2147483648 for "not said"."""
    name = topics()

    async def without_operations(_client: object, names: list[str]) -> dict[str, TopicMetadata]:
        return {n: TopicMetadata(n, None, 1, 1, has_leaders=True, operations=None) for n in names}

    async def not_said(_client: object, _group: str) -> None:
        return None

    monkeypatch.setattr(module, "topic_metadata", without_operations)
    monkeypatch.setattr(module, "group_operations", not_said)
    assert await check(kafka.bootstrap_servers, reads=[name], writes=[name]) == []


def test_an_old_broker_is_asked_what_it_understands() -> None:
    topics, group = cluster._MetadataRequest(["a"]), cluster._DescribeGroupRequest("g")
    old, new = {3: (0, 5), 15: (0, 2)}, {3: (0, 13), 15: (0, 6)}
    assert [request.prepare(old).API_VERSION for request in (topics, group)] == [4, 0]
    assert [request.prepare(new).API_VERSION for request in (topics, group)] == [8, 3]
    assert cluster._read_operations(None) is cluster._read_operations(-2147483648) is None


async def test_brokers_behind_an_unreachable_advertised_address(
    kafka: LocalKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unreachable(*_: object) -> None:
        raise NodeNotReadyError("node 7")

    monkeypatch.setattr(module, "topic_metadata", unreachable)
    monkeypatch.setattr(module, "_BACKOFF_S", math.inf)  # as if no time were left to ask again
    (fault,) = await check(kafka.bootstrap_servers, reads=["any"], timeout=60)
    assert "its brokers do not answer (NodeNotReadyError: node 7)" in fault.why
    assert "advertised.listeners" in fault.remedy and 0 < fault.patience < math.inf


async def test_brokers_that_are_not_ready_yet_are_asked_again(
    kafka: LocalKafka, topics: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    async def at_first_not_ready(client: Any, names: list[str]) -> dict[str, TopicMetadata]:
        asked.append(names)
        if len(asked) < 3:
            raise NodeNotReadyError("node 7")
        return await cluster.topic_metadata(client, names)

    monkeypatch.setattr(module, "topic_metadata", at_first_not_ready)
    assert await check(kafka.bootstrap_servers, reads=[topics()], timeout=60) == []
    assert len(asked) >= 3


async def test_brokers_that_will_never_do(kafka: LocalKafka, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refused(*_: object) -> None:
        raise IncompatibleBrokerVersion("too old")

    monkeypatch.setattr(module, "topic_metadata", refused)
    (fault,) = await check(kafka.bootstrap_servers, reads=["any"], timeout=5)
    assert "too old" in fault.why and fault.patience == 0


# -- a cluster with logins and rights


@pytest.fixture(scope="module")
def guarded() -> Iterator[JvmBroker]:
    """A broker with users: `worker` may do all that a worker needs, each other one lacks what its name says."""
    users = ("worker", "no-read", "no-write", "no-group", "nothing")
    logins = " ".join(f'user_{user}="{user}-secret"' for user in users)
    properties = {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",  # whoever comes through the plaintext listener: the broker itself, this test
        "listener.name.users.sasl.enabled.mechanisms": "PLAIN",
        "listener.name.users.plain.sasl.jaas.config": (
            f"org.apache.kafka.common.security.plain.PlainLoginModule required {logins};"
        ),
    }
    try:
        with JvmBroker(properties=properties, extra_listeners={"USERS": "SASL_PLAINTEXT"}) as broker:
            admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
            created = admin.create_topics([NewTopic(name, 1, 1) for name in ("chat.events", *OUTPUTS)])
            granted = admin.create_acls(list(grants()))
            for future in (*created.values(), *granted.values()):
                future.result(30)
            while len(admin.describe_acls(ANY_ACL).result(30)) < len(granted):
                time.sleep(0.05)  # the broker learns of them from its controller, a moment after it has answered
            yield broker
    except KafkaUnavailable as cause:
        pytest.skip(f"needs a broker of its own: {cause}")


def grants() -> Iterator[AclBinding]:
    for user in ("worker", "no-read", "no-write", "no-group"):
        if user != "no-read":
            yield allow(user, ResourceType.TOPIC, "chat.events", AclOperation.READ)
        if user != "no-group":
            yield allow(user, ResourceType.GROUP, "moderation", AclOperation.READ)
        yield allow(user, ResourceType.TOPIC, "verdicts.safe", AclOperation.WRITE)
        right = AclOperation.DESCRIBE if user == "no-write" else AclOperation.WRITE
        yield allow(user, ResourceType.TOPIC, "verdicts.unsafe", right)


ANY_ACL = AclBindingFilter(
    ResourceType.ANY, None, ResourcePatternType.ANY, None, None, AclOperation.ANY, AclPermissionType.ANY
)


def allow(user: str, kind: ResourceType, name: str, operation: AclOperation) -> AclBinding:
    pattern = ResourcePatternType.LITERAL
    return AclBinding(kind, name, pattern, f"User:{user}", "*", operation, AclPermissionType.ALLOW)


@pytest.mark.kafka
class TestGuarded:
    async def test_sufficient_rights(self, guarded: JvmBroker) -> None:
        assert await self.check_as(guarded, "worker") == []

    async def test_no_read_on_the_input(self, guarded: JvmBroker) -> None:
        assert await self.check_as(guarded, "no-read") == [
            "topic chat.events gives User:no-read no READ permission: grant it with "
            "`kafka-acls --add --allow-principal User:no-read --operation Read --topic chat.events`"
        ]

    async def test_no_write_on_an_output(self, guarded: JvmBroker) -> None:
        assert await self.check_as(guarded, "no-write") == [
            "topic verdicts.unsafe gives User:no-write no WRITE permission: grant it with "
            "`kafka-acls --add --allow-principal User:no-write --operation Write --topic verdicts.unsafe`"
        ]

    async def test_no_read_on_the_group(self, guarded: JvmBroker) -> None:
        assert await self.check_as(guarded, "no-group") == [
            "group moderation gives User:no-group no READ permission: grant it with "
            "`kafka-acls --add --allow-principal User:no-group --operation Read --group moderation`"
        ]

    async def test_every_fault_has_its_line(self, guarded: JvmBroker) -> None:
        faults = await self.check_as(guarded, "nothing")
        assert [line.split(" gives ")[0] for line in faults] == [
            "topic chat.events",
            "topic verdicts.safe",
            "topic verdicts.unsafe",
            "group moderation",
        ]

    async def test_wrong_password(self, guarded: JvmBroker) -> None:
        (line,) = await self.check_as(guarded, "worker", password="wrong")
        assert line.startswith(f"broker {guarded.address('USERS')} rejects the login of User:worker ")
        assert line.endswith(": check the user name and the password")

    async def test_unknown_mechanism(self, guarded: JvmBroker) -> None:
        (line,) = await self.check_as(guarded, "worker", sasl_mechanism="SCRAM-SHA-512")
        assert "does not take this SASL mechanism" in line

    async def test_no_login_where_one_is_wanted(self, guarded: JvmBroker) -> None:
        (fault,) = await check(guarded.address("USERS"), timeout=30)
        assert "broke off" in fault.why and "PLAINTEXT" in fault.remedy
        assert 0 < fault.patience < math.inf, "so does a broker that stops, but not for ever"

    async def check_as(self, broker: JvmBroker, user: str, password: str | None = None, **changes: str) -> list[str]:
        security = {
            "security_protocol": "SASL_PLAINTEXT",
            "sasl_mechanism": "PLAIN",
            "sasl_plain_username": user,
            "sasl_plain_password": password or f"{user}-secret",
            **changes,
        }
        faults = await check(
            broker.address("USERS"), security=security, group="moderation", reads=["chat.events"], writes=OUTPUTS
        )
        return lines(faults)


async def check(servers: str, group: str = "", **given: Any) -> list[Fault]:
    """`preflight` with what a test does not care about filled in."""
    wanted = {"security": {}, "reads": [], "writes": [], **given}
    return await preflight(bootstrap_servers=servers, group=group or f"group-{uuid.uuid4().hex[:8]}", **wanted)
