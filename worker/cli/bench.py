"""`moderation-worker bench`: what this machine does, as ratios measured in one run."""

import dataclasses
from typing import TYPE_CHECKING, Annotated

import orjson
import typer
from rich.console import Console

from worker.observability.logs import configure_logs

if TYPE_CHECKING:
    from worker.standins.build import Dims

bench_app = typer.Typer(help="Measure this machine: ratios in one run.", no_args_is_help=True)


@bench_app.callback()
def _quiet() -> None:
    configure_logs("auto", "warning")


_SUITE = tuple(
    (lengths, policies, images) for lengths in ("chat", "mixed") for policies in (1, 20) for images in (0, 0.2)
)


@bench_app.command()
def guards(
    dims: Annotated[
        str, typer.Option(help="46m, llama-guard-4, 1m, or what differs from 46m, such as hidden=768,layers=8.")
    ] = "46m",
    lengths: Annotated[str, typer.Option(help="Tokens of a message: chat (15-45), mixed (5-2000), long.")] = "chat",
    messages: Annotated[int | None, typer.Option(min=1, help="How many; 64 on a CPU, 2048 on a GPU.")] = None,
    policies: Annotated[int, typer.Option(min=1, help="Policies with different exclusions, taken in turn.")] = 1,
    images: Annotated[float, typer.Option(min=0, max=1, help="The share of messages with an image.")] = 0.0,
    unsafe_share: Annotated[float, typer.Option(min=0, max=1, help="About so many answers are unsafe.")] = 0.1,
    batch_tokens: Annotated[
        int | None, typer.Option(min=64, help="Most tokens of a batch; 4096 on a CPU, 16384 on a GPU.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Everything is measured so often, in turn.")] = 3,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:<n>.")] = "auto",
    suite: Annotated[
        bool, typer.Option("--suite", help="Lengths x policies x images instead of one workload.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of a table.")] = False,
) -> None:
    """The guard engine against the release's snippet and padded batches, on the same random weights.

    The weights are random within the grammar of answers, so that all ways give the same answers; what is measured is
    the computation of a checkpoint of these dimensions.

    Example: moderation-worker bench guards --dims 46m
    """
    from worker.bench.guards import Bench, GuardsBench
    from worker.bench.guards_table import about_line, one_table, suite_table
    from worker.bench.workload import Workload
    from worker.guards.loading import device_of
    from worker.planning.lengths import LENGTHS

    if lengths not in LENGTHS:
        raise typer.BadParameter(f"no lengths are named {lengths!r}; known are {', '.join(LENGTHS)}")
    shape = _dims(dims)
    device = device_of(device)
    on_cpu = device == "cpu"
    console = Console(stderr=True)
    with console.status("making the model") as status:
        bench = GuardsBench(
            Bench(
                shape,
                batch_tokens or (4096 if on_cpu else 16384),
                rounds,
                unsafe_share=unsafe_share,
                device=device,
            )
        )
        count = messages or (64 if on_cpu else 2048)
        works = [Workload(*each) for each in _suite(count)] if suite else [Workload(lengths, count, policies, images)]
        results = [bench.run(work, status.update) for work in works]
    about = bench.about()
    if as_json:
        found = [dataclasses.asdict(result) for result in results]
        typer.echo(orjson.dumps({**about, **({"suite": found} if suite else found[0])}).decode())
        return
    out = Console(soft_wrap=True)
    out.print(about_line(about))
    out.print(suite_table(results) if suite else one_table(results[0]))


@bench_app.command("device-busy")
def device_busy(
    events: Annotated[int, typer.Option(min=10, help="How many.")] = 1500,
    rate: Annotated[
        float | None, typer.Option(min=0.1, help="Events a second; all wait from the start if absent.")
    ] = None,
    images: Annotated[float, typer.Option(min=0, max=1, help="The share of events with an image.")] = 0.0,
    batch_tokens: Annotated[int, typer.Option(min=64, help="Most tokens of a batch.")] = 1536,
    token_microseconds: Annotated[float, typer.Option(min=0.01, help="That a token takes on the device.")] = 60.0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of words.")] = False,
) -> None:
    """How much of the time a simulated device computes while there is work: real preparation, real batches, no GPU.

    Example: moderation-worker bench device-busy --images 0.05
    """
    from worker.bench.device_busy import Load, SimulatedDevice
    from worker.bench.device_busy import device_busy as measure

    load = Load(events=events, image_share=images, events_per_second=rate)
    found = measure(load, SimulatedDevice(seconds_per_token=token_microseconds / 1e6), batch_tokens=batch_tokens)
    if as_json:
        typer.echo(orjson.dumps(dataclasses.asdict(found)).decode())
        return
    typer.echo(
        f"The device was busy {found.share:.1%} of {found.seconds:.1f} s, {found.share_with_checks_ready:.1%} of the "
        f"time in which checks were ready: {found.batches} batches of {found.batch_seconds * 1000:.0f} ms, longest gap "
        f"{found.longest_gap_seconds * 1000:.0f} ms, padding {found.padding:.1%}; {found.events_per_second:.0f} "
        f"events/s, p50 {found.latency_p50 * 1000:.0f} ms, p99 {found.latency_p99 * 1000:.0f} ms."
    )


@bench_app.command()
def stream(
    events: Annotated[int, typer.Option(min=10_000, help="How many, of about 200 bytes.")] = 120_000,
    rounds: Annotated[int, typer.Option(min=1, help="Both are measured so often, in turn.")] = 3,
    bootstrap: Annotated[str | None, typer.Option(help="Use this Kafka (host:port) instead of starting one.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of words.")] = False,
) -> None:
    """The worker with guards that cost nothing against a plain aiokafka consume-produce loop, on one Kafka.

    Example: moderation-worker bench stream
    """
    from worker.bench.stream import bench_stream

    found = bench_stream(bootstrap, events, rounds, lambda line: typer.echo(line, err=True))
    if as_json:
        typer.echo(orjson.dumps(dataclasses.asdict(found)).decode())
        return
    typer.echo(
        f"The worker takes {found.worker_events_per_second:,.0f} events/s, the plain loop "
        f"{found.plain_events_per_second:,.0f}: ratio {found.ratio:.3f} (medians of {found.rounds} rounds of "
        f"{found.events:,} events).\n"
        f"At {found.latency_events_per_second:,.0f} events/s, with batches of 5 ms: p50 {found.latency_p50_ms:.1f} ms, "
        f"p99 {found.latency_p99_ms:.1f} ms from an event's sending to the reading of its verdict; "
        f"of the plain loop's answer p50 {found.plain_latency_p50_ms:.1f} ms, p99 {found.plain_latency_p99_ms:.1f} ms."
    )


@bench_app.command("tenants")
def tenants(
    count: Annotated[
        int, typer.Option("--tenants", min=2, max=8000, help="How many, each with exclusions of its own.")
    ] = 500,
    events: Annotated[int, typer.Option(min=100, help="How many events a round and side.")] = 1000,
    rounds: Annotated[int, typer.Option(min=1, help="All sides are measured so often, in turn.")] = 3,
    prefix_cache_bytes: Annotated[
        int | None, typer.Option(min=0, help="Room for prompts' beginnings; the worker's default if absent.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of words.")] = False,
) -> None:
    """One worker for many tenants with distinct exclusions, against one tenant. Stand-in guards, CPU time.

    Example: moderation-worker bench tenants --tenants 500
    """
    from worker.bench.tenants import TenantsBench

    bench = TenantsBench(count, events, prefix_cache_bytes)
    found = bench.run(rounds, lambda line: typer.echo(line, err=True))
    if as_json:
        typer.echo(orjson.dumps(dataclasses.asdict(found)).decode())
        return
    sides = f"{found.one_tenant * 1000:.2f} ms, {found.prompt * 1000:.2f} ms, {found.filtered * 1000:.2f} ms"
    typer.echo(
        f"{found.tenants} tenants with distinct exclusions have {found.ratio_prompt:.2f} of one tenant's throughput, "
        f"and {found.ratio_filtered:.2f} with excluded_mode filter (medians of {found.rounds} rounds of "
        f"{found.events:,} events).\n"
        f"CPU an event: {sides}; prefixes take {found.prefix_cache_bytes / (1 << 20):.0f} MiB."
    )


@bench_app.command("metrics")
def metrics(
    events: Annotated[int, typer.Option(min=10_000, help="How many, of about 200 bytes.")] = 30_000,
    bootstrap: Annotated[str | None, typer.Option(help="Use this Kafka (host:port) instead of starting one.")] = None,
) -> None:
    """What the metrics cost, of all CPU time that an event takes in a worker with guards that cost nothing. On Linux.

    Example: moderation-worker bench metrics
    """
    from worker.bench.metrics_cost import metrics_cost
    from worker.bench.stream_cpu import worker_cpu

    before = metrics_cost()
    whole = worker_cpu(bootstrap, events, lambda line: typer.echo(line, err=True))
    cost = (before + metrics_cost()) / 2  # the machine may have been busier at one of the times
    typer.echo(
        f"Metrics take {cost * 1e6:.1f} µs of the {whole * 1e6:.0f} µs of an event's CPU time: {cost / whole:.1%}."
    )


def _suite(messages: int) -> list[tuple[str, int, int, float]]:
    return [(lengths, messages, policies, images) for lengths, policies, images in _SUITE]


def _dims(words: str) -> "Dims":
    """Named dimensions, or what differs from 46m."""
    from worker.bench.random_model import DIMS

    if words in DIMS:
        return DIMS[words]
    try:
        changes = {name: int(value) for name, value in (word.split("=") for word in words.split(","))}
        return dataclasses.replace(DIMS["46m"], **changes)
    except (ValueError, TypeError):
        names = ", ".join(field.name for field in dataclasses.fields(DIMS["46m"]))
        raise typer.BadParameter(
            f"{words!r} is neither one of {', '.join(DIMS)} nor of the form name=number,...; names are {names}"
        ) from None


@bench_app.command("plan")
def plan(
    rate: Annotated[list[float] | None, typer.Option(min=1, help="Events a second; 150 and 350 if absent.")] = None,
    turns: Annotated[int, typer.Option(min=1, help="Of 15 s with free and 15 s with costly guards, a rate.")] = 6,
    bootstrap: Annotated[str | None, typer.Option(help="Use this Kafka (host:port) instead of starting one.")] = None,
) -> None:
    """The planner's simulation against a real worker, on guards that take a known time.

    Example: moderation-worker bench plan --rate 150 --rate 350
    """
    from worker.bench.plan import bench_plan

    for each in bench_plan(bootstrap, rate or [150.0, 350.0], turns, lambda line: typer.echo(line, err=True)):
        typer.echo(str(each))
