"""docs/redteam.md from the attacks: `python -m tests.redteam.page [--check]`."""

from collections.abc import Iterator
from pathlib import Path

from deploy.generated import write_or_check
from tests.redteam.attacks import Family, families

TARGET = Path(__file__).parents[2] / "docs/redteam.md"
_HEAD = """\
# Bypass attempts

What people send to get past a moderation pipeline, as data (`tests/redteam/*.toml`), with what must become of each
**whatever the models say**. `make redteam` sends every one of them through the worker's own code with the stand-ins,
and checks: the prompt's special tokens and delimiters are those that the template writes, and no others; roles are the
record's; all of the judged text is in the prompts, in windows that overlap, or the verdict says `complete: false` and
is not `safe`; imitated delimiters are counted; Prompt Guard gets the text without what hides it. *Stopped by the
worker* means just that. What is left to the models is not measured here: a stand-in knows nothing of it. Measure it
with [`evaluate`](evaluation.md) on data of that kind.

This page is generated: `make schemas`.

"""


def page() -> str:
    """The page's text."""
    return _HEAD + "\n".join([*_summary(families()), "", *_details(families())]) + "\n"


def _summary(all_of_them: list[Family]) -> Iterator[str]:
    yield "| family | attacks | the worker itself | left to the models |"
    yield "|---|---|---|---|"
    for family in all_of_them:
        stopped = sum(attack.stopped_by == "worker" for attack in family.attacks)
        counts = f"{stopped} of {len(family.attacks)} stopped by the worker"
        yield f"| {family.name} | {counts} | {family.worker} | {family.models} |"


def _details(all_of_them: list[Family]) -> Iterator[str]:
    yield "| attack | who has to stop it | what must become of it |"
    yield "|---|---|---|"
    for attack in (attack for family in all_of_them for attack in family.attacks):
        yield f"| {attack.id} | the {attack.stopped_by} | {_words(attack.expected)} |"


def _words(expected: dict[str, object]) -> str:
    said = {
        "dead_letter": "a dead letter, `{}`",
        "neutralised": "delimiters neutralised: {}",
        "turns_dropped": "at least {} turns dropped, and counted",
        "images": "images judged: {}",
        "judged_role": "the {}'s turn is judged",
        "llama_guard_windows": "at least {} windows",
    }
    words = [said[name].format(value) for name, value in expected.items() if name in said]
    if "complete" in expected:
        words.append("review or unsafe: not all of it could be judged")
    if "prompt_guard_reads" in expected:
        words.append("Prompt Guard reads it in clear")
    if "absent" in expected:
        words.append("it is in no prompt")
    if "llama_guard_reads" in expected:
        words.append("Llama Guard reads it as it was sent")
    return "; ".join(words) or "it is text, and judged as text"


if __name__ == "__main__":
    write_or_check(TARGET, page())
