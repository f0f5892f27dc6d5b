"""`moderation-worker policies`: look at policies before they act."""

import asyncio
import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from worker.cli.context import StandInOption, policy_of, settings_of
from worker.exit_codes import ExitCode
from worker.policy.as_toml import as_toml
from worker.policy.differences import differences
from worker.policy.errors import PolicyError
from worker.policy.store import PolicyStore
from worker.settings import Settings

if TYPE_CHECKING:
    from worker.moderation.comparison import Comparison

policies_app = typer.Typer(help="Check, show and compare policies before they act.", no_args_is_help=True)

_MOST_LISTED = 20

FileArgument = Annotated[Path, typer.Argument(help="Policies file (TOML), or a directory of them.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object instead of words.")]


@policies_app.command()
def check(file: FileArgument) -> None:
    """Say everything that is wrong with a policies file, a line a fault; exit code 1 where something is.

    Example: moderation-worker policies check policies.toml
    """
    try:
        policies = PolicyStore.from_file(file)
    except PolicyError as error:
        for fault in error.faults:
            typer.echo(fault, err=True)
        raise typer.Exit(ExitCode.FAILED) from None
    for name in policies.names[:_MOST_LISTED]:
        typer.echo(f"{_hash(policies, name)}  {name}")
    if (more := len(policies.names) - _MOST_LISTED) > 0:
        typer.echo(f"and {more} more policies")
    typer.echo(f"{file}: {len(policies.names)} policies for {len(policies.tenants)} tenants can be used")


@policies_app.command()
def show(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="The policy; `default` if absent.")] = None,
    tenant: Annotated[str | None, typer.Option(help="The policy of this tenant instead.")] = None,
    file: Annotated[Path | None, typer.Option(help="Policies file; the one of the settings if absent.")] = None,
) -> None:
    """Show a policy whole, with what it has from its base, and its hash as verdicts have it.

    Example: moderation-worker policies show --tenant deutsches-museum
    """
    if name is not None and tenant is not None:
        raise typer.BadParameter("a name or --tenant, not both")
    policies = PolicyStore.from_file(file) if file else PolicyStore.of(settings_of(context))
    policy = policies.of_tenant(tenant) if tenant is not None else policy_of(policies, name)
    if tenant is not None and tenant not in policies.tenants:
        typer.echo(f"# {tenant!r} is not in [tenants]: it gets the default")
    typer.echo(f"# hash {policy.hash}")
    typer.echo(as_toml(policy), nl=False)


@policies_app.command()
def diff(
    context: typer.Context,
    old: FileArgument,
    new: FileArgument,
    events: Annotated[
        Path | None, typer.Option(help="JSON lines, a chat event a line: what would become of them.")
    ] = None,
    policy: Annotated[str | None, typer.Option(help="Policy for events that name none.")] = None,
    show: Annotated[int, typer.Option(min=0, help="Most changed events to list.")] = _MOST_LISTED,
    stand_in: StandInOption = False,
    as_json: JsonOption = False,
) -> None:
    """What two policies files say otherwise; with --events, which verdicts would change.

    The guards judge each event once, and both policies decide on the same answer. Only where the policies put
    different questions to Llama Guard (other excluded categories) an event is judged twice.

    Example: moderation-worker policies diff old.toml new.toml --events events.jsonl --stand-in
    """
    before, after = PolicyStore.from_file(old), PolicyStore.from_file(new)
    found: dict[str, Any] = {"policies": list(differences(before, after))}
    if events is not None:
        for path, policies in ((old, before), (new, after)):
            if policy is not None and policies.named(policy) is None:
                raise typer.BadParameter(f"no policy {policy!r} in {path}")
        settings = settings_of(context, stand_in=stand_in)
        with _opened(events) as lines:
            found |= asyncio.run(_compare(settings, before, after, lines, policy, None if as_json else show))
    if as_json:
        typer.echo(orjson.dumps(found).decode())
        return
    typer.echo("\n".join(found["policies"]) or "no policy differs")
    if events is not None:
        _tell(found, show)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Iterator[bytes]]:
    try:
        with path.open("rb") as file:
            yield (line.rstrip(b"\r\n") for line in file)
    except OSError as error:
        raise typer.BadParameter(str(error)) from None


async def _compare(
    settings: Settings,
    old: PolicyStore,
    new: PolicyStore,
    lines: Iterator[bytes],
    policy: str | None,
    most: int | None,
) -> dict[str, Any]:
    """What comes of the events; `most` changed ones, or all of them."""
    from worker.guards.loading import load_guards
    from worker.moderation.comparison import Comparison
    from worker.moderation.options import ModeratorOptions
    from worker.moderation.panel import Panel
    from worker.moderation.request import tell

    guards = await asyncio.to_thread(load_guards, settings)
    stand_in = any(model.stand_in for guard in guards for model in guard.models)
    panel = Panel(guards, ModeratorOptions.of(settings), tell)
    comparison = Comparison(panel, old, new, default_policy=policy, stand_in=stand_in)
    changed: list[dict[str, Any]] = []
    changes = 0
    try:
        async for compared in comparison.compare(lines):
            changes += compared.differs
            if compared.differs and (most is None or len(changed) < most):
                changed.append(dataclasses.asdict(compared))
    finally:
        panel.close()
    return {**_counts(comparison), "changes": changes, "changed": changed}


def _counts(comparison: "Comparison") -> dict[str, Any]:
    tally = comparison.tally
    outcomes = [{"old": old, "new": new, "events": count} for (old, new), count in sorted(tally.outcomes.items())]
    numbers = {"events": tally.events, "unreadable": tally.unreadable, "judged_twice": tally.judged_twice}
    return {**numbers, "outcomes": outcomes}


def _tell(found: dict[str, Any], most: int) -> None:
    typer.echo(f"\n{found['events']} events, {found['changes']} of them with another verdict")
    if found["unreadable"]:
        typer.echo(f"{found['unreadable']} lines are no events")
    if found["judged_twice"]:
        typer.echo(f"{found['judged_twice']} were judged twice, because the policies ask for other categories")
    for each in found["outcomes"]:
        same = "" if each["old"] != each["new"] else "  (the same label)"
        typer.echo(f"  {each['old']:>11} -> {each['new']:<11} {each['events']:>7}{same}")
    for each in found["changed"]:
        typer.echo(f"line {each['line']}, {each['event_id']}:")
        typer.echo(f"  - {each['old']['explanation']}\n  + {each['new']['explanation']}")
    if (more := found["changes"] - len(found["changed"])) > 0 and most:
        typer.echo(f"and {more} more (--show, --json)")


def _hash(policies: PolicyStore, name: str) -> str:
    policy = policies.named(name)
    return policy.hash if policy else ""
