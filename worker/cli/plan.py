"""`moderation-worker plan`: pods, partitions, lag threshold and GPU hours for a stream."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import orjson
import typer

if TYPE_CHECKING:
    from worker.planning.plan import Demand, Plan

_INTERNET_SCALE = 100_000.0  # messages a second


def plan(
    rate: Annotated[float, typer.Option(min=0.01, help="Messages a second, at the peak.")] = 1000.0,
    lengths: Annotated[str, typer.Option(help="Tokens of a message: chat (15-45), mixed (5-2000), long.")] = "mixed",
    images: Annotated[float, typer.Option(min=0, max=1, help="The share of messages with an image.")] = 0.0,
    cached: Annotated[float, typer.Option(min=0, max=0.99, help="The share that the verdict cache answers.")] = 0.0,
    p99_ms: Annotated[float, typer.Option(min=1, help="The 99th percentile to keep to, Kafka included.")] = 1000.0,
    card: Annotated[str, typer.Option(help="h100, h200, a100-80gb, l40s, rtx-6000-ada: by its data sheet.")] = "h100",
    bench: Annotated[
        Path | None, typer.Option(help="What `bench guards --dims llama-guard-4 --json` printed on your card.")
    ] = None,
    batch_tokens: Annotated[int, typer.Option(min=64, help="The setting llama_guard_batch_tokens.")] = 16384,
    stream_p50_ms: Annotated[float, typer.Option(min=0.1, help="Kafka and the stream alone, the median.")] = 25.0,
    stream_p99_ms: Annotated[float, typer.Option(min=0.1, help="The same, the 99th percentile.")] = 60.0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of words.")] = False,
) -> None:
    """What a stream takes: the operations of Llama Guard 4, a card's rate, and a simulation of the worker's own queue.

    By a data sheet the plan is a guess: measure your card with `bench guards --dims llama-guard-4 --json` and name the
    file with --bench.

    Example: moderation-worker plan --rate 5000 --images 0.02 --p99-ms 800 --card h100
    """
    from worker.planning.cards import assumed, measured
    from worker.planning.lengths import LENGTHS
    from worker.planning.plan import Demand, bears, plan_of, worker_of
    from worker.planning.stream_time import lognormal
    from worker.settings import Settings

    if lengths not in LENGTHS:
        raise typer.BadParameter(f"no lengths are named {lengths!r}; known are {', '.join(LENGTHS)}")
    try:
        device = measured(bench) if bench else assumed(card)
        stream = lognormal(stream_p50_ms / 1000, stream_p99_ms / 1000)
        worker = worker_of(device, Settings.model_validate({"llama_guard_batch_tokens": batch_tokens}), stream)
        demand = Demand(rate, lengths, images, p99_ms / 1000, cached)
        most = bears(demand, worker)
        found = plan_of(demand, worker, most)
        internet = plan_of(dataclasses.replace(demand, per_second=_INTERNET_SCALE), worker, most)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    if as_json:
        typer.echo(orjson.dumps({"card": device.name, **dataclasses.asdict(found)}).decode())
        return
    typer.echo(_words(device.name, demand, found))
    typer.echo(f"At {_INTERNET_SCALE:,.0f} messages/s of the same kind: {_short(internet)}.")


def _short(found: "Plan") -> str:
    return f"{found.pods:,} pods, {found.partitions:,} partitions, {found.gpu_hours_a_month:,} GPU hours a month"


def _words(card: str, demand: "Demand", found: "Plan") -> str:
    pod = found.pod
    return (
        f"{demand.per_second:,.0f} messages/s on {card}: {_short(found)}.\n"
        f"A pod bears {found.pod_bears_per_second:,.1f} judged messages/s at p99 {demand.p99_seconds * 1000:,.0f} ms; "
        f"at its share ({pod.per_second:,.1f}/s) p50 {pod.p50 * 1000:,.0f}, p99 {pod.p99 * 1000:,.0f} ms, device busy "
        f"{pod.busy:.0%}, {pod.batch_events:.1f} messages a batch.\n"
        f"Scale by lag from {found.lag_threshold:,} records a pod on; a fifth of the pods is spare."
    )
