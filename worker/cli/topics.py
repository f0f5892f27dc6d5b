"""`moderation-worker topics`: create and check the worker's topics."""

import asyncio
from typing import Annotated

import typer

from worker.cli.context import settings_of
from worker.exit_codes import ExitCode

topics_app = typer.Typer(help="Create and check the worker's topics.", no_args_is_help=True)

_KAFKAS_DEFAULT_LIMIT = 1_048_588  # bytes
_TWO_WEEKS_MS = str(14 * 24 * 3600 * 1000)
_NINETY_DAYS_MS = str(90 * 24 * 3600 * 1000)


@topics_app.command()
def create(
    context: typer.Context,
    partitions: Annotated[
        int, typer.Option(min=1, help="Partitions of each topic: at least as many as workers you will ever run.")
    ] = 12,
    replication_factor: Annotated[
        int, typer.Option(min=1, help="Copies of each partition; 3 in production, at most the number of brokers.")
    ] = 1,
) -> None:
    """Create the topics of the settings that do not exist yet. Those that exist are left as they are."""
    from aiokafka.errors import KafkaError

    from worker.stream.kafka.checks import connection_faults
    from worker.stream.kafka.connection import security_of
    from worker.stream.kafka.topics import TopicSpec, create_topics

    settings = settings_of(context)
    largest = {"max.message.bytes": str(max(_KAFKAS_DEFAULT_LIMIT, settings.max_record_bytes + 65_536))}
    specs = [
        TopicSpec(name, partitions, replication_factor, largest)
        for name in (settings.input_topic, *settings.written_topics)
        if name != settings.dead_letter_topic
    ]
    if settings.reviews_topic:  # a person's decision is a small record
        specs.append(
            TopicSpec(settings.reviews_topic, partitions, replication_factor, {"retention.ms": _NINETY_DAYS_MS})
        )
    kept_longer = {**largest, "retention.ms": _TWO_WEEKS_MS}
    specs.append(TopicSpec(settings.dead_letter_topic, partitions, replication_factor, kept_longer))
    faults = asyncio.run(connection_faults(settings))
    for fault in faults:
        typer.echo(f"no topic can be created on {settings.bootstrap_servers}: {fault}", err=True)
    if faults:
        raise typer.Exit(ExitCode.CONFIG)
    try:
        results = asyncio.run(
            create_topics(specs, bootstrap_servers=settings.bootstrap_servers, security=security_of(settings))
        )
    except (KafkaError, TimeoutError) as error:
        typer.echo(f"no topic can be created on {settings.bootstrap_servers}: {error or 'no answer in time'}", err=True)
        raise typer.Exit(ExitCode.CONFIG) from None
    for result in results:
        typer.echo(str(result), err=result.topic is None)
    if any(result.topic is None for result in results):
        raise typer.Exit(ExitCode.FAILED)


@topics_app.command()
def check(context: typer.Context) -> None:
    """Check what `run` will need: a broker that answers, the topics, and the rights to read and write them."""
    from worker.stream.kafka.checks import kafka_faults, review_faults

    settings = settings_of(context)
    # A connection that fails is told once.
    faults = asyncio.run(kafka_faults(settings)) or asyncio.run(review_faults(settings))
    for fault in faults:
        typer.echo(str(fault), err=True)
    if faults:
        raise typer.Exit(ExitCode.FAILED)
    typer.echo("the broker answers; all topics are there, and this user may read and write them")
