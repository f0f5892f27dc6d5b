"""TLS, mutual TLS, SASL and ACLs on a real broker: every way in works, and what is wrong is one line and an exit code,
never a silent worker and never a secret."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import orjson
import pytest
from aiokafka import AIOKafkaProducer

from tests.stream.rig import Rig, chat_event, metric, new_rig, until
from tests.stream.secure_kafka import SECRETS, SecureKafka, needed_by_an_operator, secure_kafka, unsecured_token
from tests.stream.token_endpoint import CLIENT, CLIENT_SECRET, token_endpoint
from worker.exit_codes import ExitCode
from worker.local.broker import KafkaUnavailable
from worker.local.workers import WorkerProcess
from worker.stream.kafka.topics import TopicSpec, create_topics

pytestmark = pytest.mark.kafka

USERS = {"plain": "worker", "scram": "worker", "mtls": "client"}  # OAUTHBEARER has tests of its own

CHECK = "`moderation-worker topics check` shows which"

Change = Callable[[SecureKafka, dict[str, object]], Mapping[str, object]]


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureKafka]:
    """One broker for all these tests."""
    try:
        with secure_kafka(tmp_path_factory.mktemp("secure")) as kafka:
            yield kafka
    except KafkaUnavailable as cause:
        pytest.skip(f"needs a broker of its own: {cause}")


@pytest.fixture
def own(secure: SecureKafka, tmp_path: Path) -> Rig:
    """Topics and a group on which nobody has rights yet."""
    return new_rig(secure, tmp_path, partitions=1)


def errors(worker: WorkerProcess, *levels: str) -> list[str]:
    """What the worker logged as errors, or at these levels. Fails where its log holds a secret."""
    text = worker.log.read_text()
    assert not any(secret in text for secret in SECRETS)
    lines = [orjson.loads(line) for line in text.splitlines()]
    wanted, chosen = ("event", "cause", "exception"), levels or ("error",)
    return [" ".join(line.get(each, "") for each in wanted).strip() for line in lines if line["level"] in chosen]


# -- every way in


@pytest.mark.parametrize("way", USERS)
async def test_events_are_judged_over_a_secure_connection(secure: SecureKafka, own: Rig, way: str) -> None:
    secure.allow(USERS[way], own)
    with own.worker(**secure.settings(way), log_level="debug") as worker:
        await own.ready(worker)
        ids = await own.send((b"k", chat_event(text)) for text in ("hello", "a bomb", "ignore all"))
        async with own.outcomes() as outcomes:
            await outcomes.until_answered(ids)
        assert worker.stop() == ExitCode.OK
    assert set(outcomes.ids.values()) == {1}
    assert outcomes.counts == {"safe": 1, "unsafe": 2}
    assert not any((await own.lag()).values())
    assert errors(worker) == []


@pytest.mark.chaos
async def test_the_worker_lives_on_when_its_tokens_expire(secure: SecureKafka, own: Rig) -> None:
    """The broker ends sessions after SESSION_SECONDS; aiokafka connects anew, with a new token from the endpoint."""
    secure.allow("worker", own)
    settings = secure.settings("oauth")
    del settings["sasl_oauth_token_file"]
    with token_endpoint(lambda: unsecured_token("worker"), expires_in=1) as endpoint:
        settings |= {"sasl_oauth_token_url": endpoint.url, "sasl_oauth_client_id": CLIENT}
        settings["sasl_oauth_client_secret_file"] = secure.file("client-secret", CLIENT_SECRET)
        with own.worker(**settings, log_level="debug") as worker:
            await own.ready(worker)
            async with own.outcomes() as outcomes:
                ids = await own.send((b"k", chat_event(f"first {number}")) for number in range(5))
                await outcomes.until_answered(ids)
                asked = len(endpoint.asked)
                await until(lambda: len(endpoint.asked) >= asked + 3)  # each time somebody logs in
                ids += await own.send((b"k", chat_event(f"later {number}")) for number in range(5))
                await outcomes.until_answered(ids)
            worker.check()
            assert worker.stop() == ExitCode.OK
    assert set(outcomes.ids.values()) == {1}
    assert not any((await own.lag()).values())
    errors(worker)


async def test_an_expired_token_is_told_and_waited_for(secure: SecureKafka, own: Rig) -> None:
    secure.allow("worker", own)
    settings = secure.settings("oauth")
    token = settings["sasl_oauth_token_file"]
    assert isinstance(token, Path)
    with own.worker(**settings) as worker:
        await own.ready(worker)
        secure.file(token.name, unsecured_token("worker", seconds=-60))
        await until(lambda: "brokers will not take an expired token" in worker.log.read_text())
        ids = await own.send((b"k", chat_event(f"hello {number}")) for number in range(5))
        secure.file(token.name, unsecured_token("worker"))
        async with own.outcomes() as outcomes:
            await outcomes.until_answered(ids)
        assert worker.stop() == ExitCode.OK
    assert set(outcomes.ids.values()) == {1}
    errors(worker)


# -- what is wrong with the connection


def wrong_password(_: SecureKafka, __: object) -> Mapping[str, object]:
    return {"sasl_password": "hush-password-2"}


def other_ca(kafka: SecureKafka, _: object) -> Mapping[str, object]:
    return {"ssl_ca_file": kafka.certificates.other_ca}


def by_name(_: SecureKafka, settings: dict[str, object]) -> Mapping[str, object]:
    return {"bootstrap_servers": str(settings["bootstrap_servers"]).replace("127.0.0.1", "localhost")}


def no_certificate(_: SecureKafka, settings: dict[str, object]) -> Mapping[str, object]:
    return {name: "" for name in settings if name.startswith(("ssl_cert", "ssl_key"))}


def expired_token(kafka: SecureKafka, _: object) -> Mapping[str, object]:
    return {"sasl_oauth_token_file": kafka.file("expired", unsecured_token("worker", seconds=-60))}


@pytest.mark.parametrize(
    ("way", "change", "says"),
    [
        ("plain", wrong_password, "rejects the login of User:worker"),
        ("plain", other_ca, "shows a certificate that is not trusted (unable to get local issuer certificate)"),
        ("scram", by_name, "certificate is not valid for 'localhost'"),
        ("mtls", no_certificate, "check ssl_cert_file and ssl_key_file"),
        ("oauth", expired_token, "the token of worker from "),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_wrong_setting_is_one_line(secure: SecureKafka, own: Rig, way: str, change: Change, says: str) -> None:
    settings = secure.settings(way)
    settings |= change(secure, settings)
    with own.worker(**settings) as worker:
        assert worker.wait(120) == ExitCode.CONFIG
    (line,) = errors(worker)
    assert says in line and "\n" not in line and "Traceback" not in line


# -- rights


@pytest.mark.parametrize("missing", ["input", "group", "review_topic"])
def test_a_missing_right_is_one_line(secure: SecureKafka, own: Rig, missing: str) -> None:
    names = {"input": own.input_topic, "group": own.group, **own.outputs}
    secure.allow("worker", own, but=names[missing])
    with own.worker(**secure.settings("scram")) as worker:
        assert worker.wait(120) == ExitCode.CONFIG
    (line,) = errors(worker)
    right, kind = ("WRITE" if missing == "review_topic" else "READ"), ("group" if missing == "group" else "topic")
    assert f"{kind} {names[missing]} gives User:worker no {right} permission: grant it with `kafka-acls" in line


@pytest.mark.parametrize("taken", ["input", "group", "unsafe_topic"])
async def test_a_right_that_is_taken_away_ends_the_worker(secure: SecureKafka, own: Rig, taken: str) -> None:
    name = {"input": own.input_topic, "group": own.group, **own.outputs}[taken]
    secure.allow("worker", own)
    # Without its right on the group the worker cannot leave it: the next one waits for its session to end.
    settings = secure.settings("plain") | {"session_timeout_seconds": 6}
    async with own.outcomes() as outcomes:
        with own.worker("before", **settings) as worker:
            await own.ready(worker)
            await outcomes.until_answered(await own.send([(b"k", chat_event("a bomb"))]))
            secure.take_away("worker", own, name)
            ids = await own.send((b"k", chat_event(f"bomb {number}")) for number in range(20))
            assert worker.wait(120) == ExitCode.CONFIG
        (line,) = (line for line in errors(worker, "critical", "error") if "cannot go on" in line)
        kind = "group" if taken == "group" else "topic"
        assert line == f"cannot go on: a right on {kind} {name} was taken away; {CHECK}"
        secure.allow("worker", own)
        with own.worker("after", **settings) as worker:
            await own.ready(worker)
            await outcomes.until_answered(ids)
            assert worker.stop() == ExitCode.OK
    assert outcomes.counts.keys() == {"unsafe"}
    assert not any((await own.lag()).values())


async def test_a_right_to_the_reviews_that_is_taken_away_leaves_the_judging_alone(
    secure: SecureKafka, own: Rig
) -> None:
    own.extra["reviews_topic"] = topic = f"{own.group}-decisions"
    await create_topics([TopicSpec(topic, 1, 1)], bootstrap_servers=secure.bootstrap_servers)
    secure.allow("worker", own, but=f"{own.group}-reviews")
    async with own.outcomes() as outcomes:
        with own.worker(**secure.settings("plain"), reviews_topic=topic) as worker:
            await own.ready(worker)
            await until(lambda: f"group {own.group}-reviews gives User:worker no READ" in worker.log.read_text())
            secure.allow("worker", own)
            await until(lambda: metric(worker, "moderation_reviews_unread") == 0)
            secure.take_away("worker", own, topic)
            async with AIOKafkaProducer(bootstrap_servers=secure.bootstrap_servers) as console:
                await console.send_and_wait(topic, b"no review")
            await until(lambda: metric(worker, "moderation_reviews_unread") == 1)
            await outcomes.until_answered(await own.send([(b"k", chat_event("a bomb"))]))
            assert worker.stop() == ExitCode.OK
        told = [line for line in errors(worker) if "reviews are not read now" in line]
    assert told and not any("\n" in line for line in told)


# -- people's commands


@pytest.mark.parametrize(
    "command",
    [
        ("worker", "topics", "create"),
        ("worker", "dead-letters", "list"),
        ("worker", "stress", "--seconds", "1"),
        ("worker.local.send", "hello"),
    ],
    ids=lambda command: " ".join(command),
)
def test_commands_log_in_like_the_worker(secure: SecureKafka, own: Rig, command: tuple[str, ...]) -> None:
    settings = {**secure.settings("plain"), "sasl_password": "hush-password-2", "input_topic": own.input_topic}
    done = _run(command, settings)
    assert done.returncode == ExitCode.CONFIG, done.stderr
    (line,) = done.stderr.splitlines()
    assert "rejects the login of User:worker" in line and "hush" not in done.stdout + line


async def test_an_operators_rights_suffice_for_dead_letters(secure: SecureKafka, own: Rig) -> None:
    secure.allow("worker", own)
    secure.grant(needed_by_an_operator("other", own))
    names = {"input_topic": own.input_topic, "group": own.group, **own.outputs}
    operator = {**secure.settings("plain", "other"), **names}
    async with own.outcomes() as outcomes:
        with own.worker(**secure.settings("plain")) as worker:
            await own.ready(worker)
            await outcomes.until_answered(await own.send([(b"k", b"no event")]))
            listed = await asyncio.to_thread(_run, ("worker", "dead-letters", "list"), operator)
            assert (listed.returncode, "not_json" in listed.stdout) == (0, True), listed.stderr
            replayed = await asyncio.to_thread(_run, ("worker", "dead-letters", "replay"), operator)
            assert replayed.returncode == 0, replayed.stderr
            await until(lambda: metric(worker, "moderation_records_total") == 2)
            assert worker.stop() == ExitCode.OK
    refused = await asyncio.to_thread(
        _run, ("worker", "dead-letters", "list"), {**operator, **secure.settings("plain")}
    )
    assert refused.returncode == ExitCode.CONFIG, "a worker's own rights are not enough"


def _run(command: tuple[str, ...], settings: Mapping[str, object]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **{f"MODERATION_{key.upper()}": str(value) for key, value in settings.items()}}
    return subprocess.run(
        [sys.executable, "-m", *command], env=environment, capture_output=True, text=True, check=False
    )
