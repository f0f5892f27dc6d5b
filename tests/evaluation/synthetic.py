"""Judged examples without a guard: from scores that a test chooses or draws."""

import random
from collections.abc import Iterator, Sequence

from worker.contract.verdict import Label, ModelRef
from worker.evaluation.judged_example import JudgedExample
from worker.evaluation.results_file import RunHeader
from worker.policy.policy import DEFAULT_POLICY
from worker.policy.taxonomy import CATEGORY_KEYS

HEADER = RunHeader(
    data=("synthetic.jsonl",),
    data_fingerprint="0123456789abcdef",
    policy_name=DEFAULT_POLICY.name,
    policy_hash=DEFAULT_POLICY.hash,
    policy=DEFAULT_POLICY.model_dump(mode="json"),
    models=(ModelRef(id="fake", revision="local-000000000000", stand_in=True),),
    worker_version="0.0.0",
)


def judged(
    name: str,
    score: float | None,
    *,
    unsafe: bool | None = None,
    categories: Sequence[str] = (),
    group: str = "english",
    attack: bool | None = None,
    attack_score: float | None = None,
    found: Sequence[str] | None = None,
) -> JudgedExample:
    """An example as the default policy decides it: unsafe from 0.5 up."""
    flagged = score is not None and score >= 0.5
    return JudgedExample(
        id=name,
        place=f"synthetic.jsonl:{name}",
        group=group,
        label=None if unsafe is None else "unsafe" if unsafe else "safe",
        categories=tuple(categories),
        prompt_attack=attack,
        verdict=Label.UNSAFE if flagged else Label.SAFE,
        reasons=("llama_guard",) if flagged else (),
        found=tuple(found if found is not None else categories or ("S1",)) if flagged else (),
        unsafe_score=score,
        attack_score=attack_score,
        attack_found=attack_score is not None and attack_score >= 0.5,
    )


def drawn(rng: random.Random, count: int, *, group: str = "english", skill: float = 2.0) -> Iterator[JudgedExample]:
    """Examples of all categories, half of them unsafe; the higher `skill`, the better the scores tell them apart."""
    for number in range(count):
        unsafe, key = rng.random() < 0.5, rng.choice(CATEGORY_KEYS)
        score = round(rng.betavariate(skill, 1.0) if unsafe else rng.betavariate(1.0, skill * 1.5), 6)
        found = [key if rng.random() < 0.85 else rng.choice(CATEGORY_KEYS)]
        attack = rng.random() < 0.3
        yield judged(
            f"{group}-{number}",
            score,
            unsafe=unsafe,
            categories=[key],
            group=group,
            found=found,
            attack=attack,
            attack_score=round(rng.betavariate(6, 1) if attack else rng.betavariate(1, 9), 6),
        )
