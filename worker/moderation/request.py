"""Request: one event on its way to its verdict."""

import asyncio
import operator
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from worker.contract.chat_event import ChatEvent
from worker.contract.record import Record
from worker.contract.verdict import Verdict
from worker.moderation.decision import GuardAnswer
from worker.moderation.scope import Scope
from worker.policy.policy import Policy

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from worker.moderation.verdict_cache import Judgement

# Told of requests that are answered at the same moment: each has a verdict or an error.
Then = Callable[[Sequence["Request"]], object]


class Request:
    """One event on its way to its verdict: what is asked, how far it has come, and what was found.

    Requests go from step to step in lists, and each step writes fields of its own. Nobody awaits one: a task, its
    futures and its wake-ups would cost an event more than all of its judgement.
    """

    __slots__ = (
        "answers",
        "arrived",
        "cached",
        "error",
        "event",
        "held",
        "judgement",
        "key",
        "leads",
        "left",
        "over",
        "policy",
        "record",
        "scope",
        "since",
        "span",
        "started",
        "then",
        "tokens_ahead",
        "verdict",
        "with_guards",
    )

    event: ChatEvent
    policy: Policy
    scope: Scope  # what the guards are to see of the event
    since: float  # when its present step began, in seconds on that step's clock

    def __init__(self, record: Record, arrived: float, then: Then) -> None:
        """`arrived`: seconds, on the moderator's clock. The verdict's id follows from the record's place. `event` and
        `policy` are still to be set."""
        self.record, self.arrived, self.then = record, arrived, then
        self.span: Span | None = None  # where tracing is on
        self.key = b""  # of its content, where its judgement may be shared
        self.answers: Sequence[GuardAnswer] = ()  # of all guards, in their order, where they are asked
        self.started = False  # a guard has begun with it: it is finished rather than given back
        self.over = False  # it was given up, or has failed here: nothing more is done for it
        self.held = False  # it was given up, and a thread is at it still: the device's, or one that prepares
        self.leads = False  # others of the same content may wait for its judgement
        self.with_guards = False
        self.tokens_ahead = 0  # prepared, and not judged
        self.left = 0  # checks without a finding
        self.cached = False  # the judgement is another event's
        self.judgement: Judgement | None = None
        self.verdict: Verdict | None = None
        self.error: BaseException | None = None  # why there is no verdict

    @classmethod
    def about(
        cls, event: ChatEvent, policy: Policy, record: Record, arrived: float, then: Then = lambda _: None
    ) -> "Request":
        """The request for a verdict on an event under a policy."""
        request = cls(record, arrived, then)
        request.event, request.policy = event, policy
        return request

    def forget(self) -> None:
        """Lets go of what it took to judge it, which may be large: it has its verdict, or will have none."""
        self.answers, self.judgement = (), None
        self.event = self.scope = None  # type: ignore[assignment]  # nobody asks for them any more

    def fail(self, error: BaseException) -> None:
        """There will be no verdict."""
        self.error, self.over, self.judgement = error, True, None


def tell(requests: Iterable[Request]) -> None:
    """Calls each one's `then`; once for those that have the same, one after the other."""
    for then, together in groupby(requests, key=operator.attrgetter("then")):
        then(list(together))


async def answered(
    request: Request, ask: Callable[[Sequence[Request]], object], give_up: Callable[[Request], object]
) -> None:
    """Asks, and returns when the request is answered. Raises its error; gives it up where who waits is cancelled."""
    waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def then(_requests: Sequence[Request]) -> None:
        if not waiting.done():
            waiting.set_result(None)

    request.then = then
    ask((request,))
    try:
        await waiting
    except asyncio.CancelledError:
        give_up(request)
        raise
    if request.error is not None:
        raise request.error
