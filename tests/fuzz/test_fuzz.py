"""Fuzzed records: each ends as exactly one outcome, and nothing they hold gets into a message or a log.

`make fuzz RECORDS=10000 SEED=1` is the long form; `make test` runs a short one.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass

import pytest

from tests.fuzz.generator import Fuzzed, fuzzed
from tests.fuzz.material import CANARY
from tests.moderation.judging import guards, settings
from tests.stream.foreign import produce
from tests.stream.rig import LARGEST, Outcomes, Rig, probe
from worker.contract.chat_event import read_chat_event
from worker.contract.errors import Unjudgeable
from worker.contract.record import header
from worker.contract.stored_letter import StoredLetter
from worker.contract.verdict import VERDICT
from worker.exit_codes import ExitCode
from worker.policy.store import PolicyStore

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")


@dataclass(frozen=True)
class Amount:
    """How much is fuzzed."""

    records: int
    seed: int


@pytest.fixture
def amount(request: pytest.FixtureRequest) -> Amount:
    """What the command line says."""
    return Amount(request.config.getoption("--fuzz-records"), request.config.getoption("--fuzz-seed"))


def test_the_same_seed_makes_the_same_records() -> None:
    first, again, other = (list(fuzzed(seed, 200)) for seed in (1, 1, 2))
    assert first == again != other
    assert len({each.value for each in first}) > 150


@pytest.mark.models
def test_they_are_prepared_or_refused_by_name(amount: Amount) -> None:
    policies = PolicyStore.of(settings())
    ends: Counter[str] = Counter()
    for number, record in enumerate(fuzzed(amount.seed, amount.records)):
        try:
            event = read_chat_event(record.value)
            policy = policies.for_event(event)
            prepared = [guard.prepare(event, policy) for guard in guards()]
            ends["checks" if any(each.checks for each in prepared) else "no checks"] += 1
        except Unjudgeable as cause:
            ends[cause.error_type] += 1
            assert cause.message and CANARY not in cause.message, f"record {number} of seed {amount.seed}"
        except BaseException as error:
            error.add_note(f"record {number} of seed {amount.seed}: {record}"[:2000])
            raise
    print(dict(ends))  # noqa: T201 - with -s, to see what the generator makes
    assert ends["checks"] > amount.records // 5, "most of them never get far"
    assert len(ends) >= 10, "they all end alike"


async def test_each_has_exactly_one_outcome_and_the_worker_lives_on(rig: Rig, amount: Amount) -> None:
    records = list(fuzzed(amount.seed, amount.records))
    no_limits = {"dead_letter_limit_consecutive": 0, "dead_letter_limit_share": 0, "max_record_bytes": LARGEST - 4096}
    with rig.worker("fuzzed", **no_limits) as worker:
        sent = []
        for number, codec in enumerate(CODECS):  # a fifth of them by each
            some = [(each.key, each.value, each.headers) for each in records[number :: len(CODECS)]]
            sent += await asyncio.to_thread(produce, rig.bootstrap, rig.input_topic, some, compression_codec=codec)
        await rig.ready(worker)
        async with rig.outcomes() as outcomes:
            await outcomes.until_answered((each.id for each in sent), seconds=60 + amount.records / 20)
            await rig.no_lag()
            await outcomes.read_to_end()
        assert len(outcomes.ids) == len(records) and set(outcomes.ids.values()) == {1}
        worker.check()  # the process that was started
        assert (await asyncio.to_thread(probe, worker, "/healthz"))[0] == 200
        assert await asyncio.to_thread(worker.stop) == ExitCode.OK
    in_order = [each for number in range(len(CODECS)) for each in records[number :: len(CODECS)]]
    _check(outcomes, {each.id: record for each, record in zip(sent, in_order, strict=True)})
    assert CANARY not in worker.log.read_text(errors="replace"), "no content in the log"


def _check(outcomes: Outcomes, sent: dict[object, Fuzzed]) -> None:
    """Each outcome is whole, and fits its record."""
    for kind in ("safe", "unsafe", "review"):
        for record in outcomes.of(kind):
            verdict = VERDICT.validate_json(record.value)
            name = outcomes.id_of(record)
            assert (verdict.verdict_id, verdict.label) == (str(name), kind)
            assert record.key == sent[name].key
    for record in outcomes.of("dead_letter"):
        letter, original = StoredLetter.of(record), sent[outcomes.id_of(record)]
        assert letter is not None and letter.told.error_type != "prepare_failed"
        assert CANARY not in letter.told.error_message + letter.told.error_type
        assert header(record.headers, "moderation-replay-count") == str(letter.replays).encode()
        assert record.key == original.key
        assert record.value == (b"" if original.key is None and original.value is None else original.value)
