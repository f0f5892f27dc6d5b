"""`python -m worker.local.send`: sends a message as a chat event and prints its verdict, for trying a running
worker."""

import asyncio
import uuid
from collections.abc import Sequence
from typing import Annotated, Any
from uuid import UUID

import orjson
import typer
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from rich.console import Console

from worker.contract.record import Record, header
from worker.contract.verdict import verdict_id_of
from worker.exit_codes import ExitCode
from worker.local.tally import id_of_dead_letter
from worker.settings import Settings, SettingsError, load_settings
from worker.stream.kafka.checks import sender_faults
from worker.stream.kafka.connection import security_of


def send(
    texts: Annotated[
        list[str], typer.Argument(help="The conversation: user, assistant, user, ... The last one is judged.")
    ],
    bootstrap: Annotated[str | None, typer.Option(help="Kafka, as host:port; else as the settings say.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Whose event it is.")] = None,
    seconds: Annotated[float, typer.Option(help="How long to wait for the verdict.")] = 60.0,
) -> None:
    """Send one chat event and print its verdict. Exit code 1 where none comes in time, 78 where Kafka or the settings
    do not allow it."""
    try:
        settings = load_settings(overrides={"bootstrap_servers": bootstrap} if bootstrap else None)
        if faults := asyncio.run(sender_faults(settings)):
            raise SettingsError("; ".join(map(str, faults)))
        verdict = asyncio.run(_send_and_wait(settings, _event(texts, tenant), seconds))
    except SettingsError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(ExitCode.CONFIG) from None
    except TimeoutError:
        typer.echo(f"no verdict within {seconds:.0f} s: is a worker running on these topics?", err=True)
        raise typer.Exit(ExitCode.FAILED) from None
    Console().print_json(orjson.dumps(verdict).decode())


def _event(texts: Sequence[str], tenant: str | None) -> dict[str, Any]:
    name = f"own-{uuid.uuid4().hex[:8]}"
    messages = [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(texts)]
    return {"event_id": name, "conversation_id": name, "messages": messages, **({"tenant": tenant} if tenant else {})}


async def _send_and_wait(settings: Settings, event: dict[str, Any], seconds: float) -> dict[str, Any]:
    connection = {"bootstrap_servers": settings.bootstrap_servers, **security_of(settings)}
    outputs = AIOKafkaConsumer(*settings.output_topics, **connection)
    producer = AIOKafkaProducer(**connection)
    await outputs.start()
    await producer.start()
    try:
        await outputs.seek_to_end()
        async with asyncio.timeout(seconds):
            where = await producer.send_and_wait(
                settings.input_topic, orjson.dumps(event), event["conversation_id"].encode()
            )
            wanted = verdict_id_of(where.topic, where.partition, where.offset, where.timestamp)
            async for record in outputs:
                if (answer := _answer(record, wanted)) is not None:
                    return answer
            raise TimeoutError  # the consumer was stopped
    finally:
        await producer.stop()
        await outputs.stop()


def _answer(record: Record, wanted: UUID) -> dict[str, Any] | None:
    if header(record.headers, "moderation-error-type") is not None:
        causes = {name: (value or b"").decode() for name, value in record.headers if name.startswith("moderation-")}
        return causes if id_of_dead_letter(record) == wanted else None
    if header(record.headers, "ce_id") != str(wanted).encode():
        return None
    answer: dict[str, Any] = orjson.loads(record.value or b"null")
    return answer


if __name__ == "__main__":
    typer.run(send)
