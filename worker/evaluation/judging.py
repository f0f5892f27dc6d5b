"""Examples -> results: through the same Moderator as the worker's, many at once, and never twice."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping

from worker.contract.errors import Unjudgeable
from worker.contract.record import PlainRecord
from worker.evaluation.judged_example import JudgedExample
from worker.evaluation.labelled_example import LabelledExample, Skipped
from worker.moderation.moderator import Moderator
from worker.moderation.request import Request
from worker.policy.policy import Policy

_AT_ONCE = 256  # examples on their way: enough for full batches


async def judge_examples(
    moderator: Moderator,
    policy: Policy,
    examples: Iterable[LabelledExample | Skipped],
    known: Mapping[str, JudgedExample],
    *,
    on_passed: Callable[[], None] = lambda: None,
) -> AsyncIterator[JudgedExample]:
    """What becomes of each example that is not in `known` already, as it comes.

    `on_passed` is called for those that are. Reads ahead no further than a few batches.
    """
    on_the_way: set[asyncio.Task[JudgedExample]] = set()
    try:
        for example in examples:
            if isinstance(example, Skipped):
                continue
            if (old := known.get(example.id)) is not None and old.is_final:
                on_passed()
                continue
            on_the_way.add(asyncio.create_task(_judge(moderator, policy, example)))
            if len(on_the_way) >= _AT_ONCE:
                done, on_the_way = await asyncio.wait(on_the_way, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    yield task.result()
        for each in asyncio.as_completed(on_the_way):
            yield await each
    finally:
        for task in on_the_way:
            task.cancel()


async def _judge(moderator: Moderator, policy: Policy, example: LabelledExample) -> JudgedExample:
    if example.label == "unsafe" and example.categories and not _acts_on(policy, example.categories):
        return JudgedExample.of(example, None, "excluded: the policy excludes or ignores all its categories")
    try:
        record = PlainRecord("evaluate", 0, example.place.line)
        verdict = await moderator.judge(Request.about(example.event, policy, record, time.monotonic()))
    except Unjudgeable as cause:
        return JudgedExample.of(example, None, f"{cause.error_type}: {cause.message}")
    return JudgedExample.of(example, verdict)


def _acts_on(policy: Policy, categories: Iterable[str]) -> bool:
    return any(key in policy.bars and policy.bars[key].action != "ignore" for key in categories)
