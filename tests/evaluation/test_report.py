"""The report: one set of figures in three forms, none of which needs anything from elsewhere or runs anything."""

import json
import random
import re
from html.parser import HTMLParser

import pytest

from tests.evaluation.synthetic import HEADER, drawn, judged
from worker.contract.verdict import Label, ModelRef
from worker.evaluation.comparison import compare
from worker.evaluation.html import to_html
from worker.evaluation.judged_example import JudgedExample
from worker.evaluation.labelled_example import DataUnusable
from worker.evaluation.markdown import to_markdown
from worker.evaluation.measures import content_question
from worker.evaluation.report import STAND_IN_WARNING, Report, report_of
from worker.evaluation.results_file import Results

CONTENT = content_question()


def by_id(*rows: JudgedExample) -> dict[str, JudgedExample]:
    return {row.id: row for row in rows}


@pytest.fixture(scope="module")
def report() -> Report:
    rng = random.Random(1)
    rows = [*drawn(rng, 400), *drawn(rng, 60, group="multilingual/fr"), *drawn(rng, 40, group="single_image")]
    hostile = judged("<script>alert(1)</script>|`x`", 0.99, unsafe=False, group="multilingual/<script>|")
    unjudged = [
        JudgedExample(id="e", place="x.jsonl:9", group="english", label="safe", error="image_unreadable: broken"),
        judged("silent", None, unsafe=True).model_copy(update={"reasons": ("guard_error",), "verdict": Label.REVIEW}),
    ]
    all_rows = by_id(*rows, hostile, *unjudged)
    before = Results(HEADER, {key: row.model_copy(update={"reasons": ()}) for key, row in all_rows.items()})
    return report_of(
        HEADER,
        list(all_rows.values()),
        unreadable=["x.jsonl:3: not JSON"],
        unreadable_count=7,
        warnings=["a note"],
        comparison=compare(all_rows, before, CONTENT),
    )


class Page(HTMLParser):
    """What a page is made of."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_nothing_from_elsewhere(report: Report) -> None:
    html = to_html(report)
    page = Page(html)
    assert page.open == []  # every tag is closed, in order
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    assert not {name for name, _ in page.attributes} & {"src", "href", "onload", "onclick"}
    assert not re.search(r"url\(|@import|https?:", html)
    assert page.tags.count("svg") > 50 and "figure" in page.tags
    assert "prefers-color-scheme:dark" in html and "max-width:700px" in html
    assert "&lt;script&gt;alert(1)" in html and "multilingual/&lt;script&gt;|" in html


def test_all_three_say_loudly_that_stand_ins_judged(report: Report) -> None:
    for form in (to_html(report), to_markdown(report), report.to_json().decode()):
        assert STAND_IN_WARNING in form
    real = HEADER.model_copy(update={"models": (ModelRef(id="real", revision="r", stand_in=False),)})
    assert STAND_IN_WARNING not in to_html(report_of(real, [judged("a", 0.5, unsafe=True)]))


def test_the_json_has_every_figure(report: Report) -> None:
    found = json.loads(report.to_json())
    assert found["header"]["policy_hash"] == HEADER.policy_hash
    assert found["examples"] == 502
    assert found["skipped"] == {
        "unreadable": 7,
        "unjudgeable": 1,
        "without_answer": 1,
        "named": [
            "x.jsonl:3: not JSON",
            "x.jsonl:9: image_unreadable: broken",
            "synthetic.jsonl:silent: no score (guard_error)",
        ],
    }
    assert set(found["release"]) == {"english", "multilingual", "single_image"}
    assert set(found["release"]["english"]["recall"]) == {"value", "low", "high", "n"}
    assert set(found["categories"]) == {f"S{number}" for number in range(1, 15)}
    assert found["attacks"]["recall_at_1_percent_fpr"]["value"] > 0.5
    assert found["confusion_count"] == len(found["confusions"]) > 10
    assert all(count > 0 for _, _, count in found["category_confusions"])


def test_the_surest_errors_come_first() -> None:
    rows = [
        judged("missed a little", 0.45, unsafe=True),
        judged("missed by far", 0.01, unsafe=True),
        judged("false alarm, sure", 0.98, unsafe=False),
        judged("attack missed", None, attack=True, attack_score=0.2),
        judged("right", 0.9, unsafe=True),
    ]
    found = [(each.id, each.kind) for each in report_of(HEADER, rows).confusions]
    assert found == [
        ("missed by far", "missed"),
        ("false alarm, sure", "false alarm"),
        ("attack missed", "missed attack"),
        ("missed a little", "missed"),
    ]


def test_markdown_tables_cannot_be_broken_by_ids(report: Report) -> None:
    text = to_markdown(report)
    assert "\\<script\\>alert(1)\\</script\\>\\|\\`x\\`" in text
    blocks = re.findall(r"(?:^\|.*\n)+", text, flags=re.M)
    for block in blocks:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1
    assert len(blocks) >= 7


def test_review_counts_as_flagged_only_when_asked_for() -> None:
    in_review = judged("a", 0.4, unsafe=True).model_copy(update={"verdict": Label.REVIEW, "reasons": ("ambiguous",)})
    for asked, recall in ((False, 0.0), (True, 1.0)):
        found = report_of(HEADER, [in_review], review_is_unsafe=asked)
        assert found.overall.recall is not None and found.overall.recall.value == recall
        assert found.review_share is not None and found.review_share.value == 1.0


@pytest.mark.parametrize(
    "rows", [[], [judged("a", 0.9, unsafe=True)], [judged("a", None, attack=False, attack_score=0.2)]]
)
def test_next_to_nothing_still_has_a_report(rows: list[JudgedExample]) -> None:
    found = report_of(HEADER, rows)
    Page(to_html(found))
    assert "# Evaluation" in to_markdown(found) and json.loads(found.to_json())["examples"] == len(rows)


# -- two runs ---------------------------------------------------------------------------------------------------------


def test_differences_and_changed_examples_by_hand() -> None:
    scores = {"a": (0.9, 0.1), "b": (0.9, 0.9), "c": (0.2, 0.3), "d": (0.8, 0.1)}  # now, before
    truth = {"a": True, "b": True, "c": False, "d": False}
    now = by_id(*(judged(key, pair[0], unsafe=truth[key], categories=["S1"]) for key, pair in scores.items()))
    old = by_id(
        *(judged(key, pair[1], unsafe=truth[key]) for key, pair in scores.items()), judged("gone", 0.5, unsafe=True)
    )
    now |= by_id(judged("new", 0.5, unsafe=True), judged("e", 0.9, unsafe=True))
    old |= by_id(judged("e", 0.9, unsafe=False))  # relabelled since
    found = compare(now, Results(HEADER, old), CONTENT)
    assert (found.shared, found.only_here, found.only_there, found.left_out) == (4, 1, 1, 1)
    assert [(each.id, each.before, each.now, each.better) for each in found.changed] == [
        ("d", 0.1, 0.8, False),
        ("a", 0.1, 0.9, True),
    ]
    row = found.differences["All examples"]
    assert row["recall"] is not None and row["false_positive_rate"] is not None
    assert (row["recall"].value, row["false_positive_rate"].value) == (0.5, 0.5)
    assert set(found.differences) == {"All examples", "English", "english", "S1"}
    assert not found.significant("All examples", "recall")  # of four examples


def test_a_run_against_itself_differs_nowhere(report: Report) -> None:
    rows = by_id(*drawn(random.Random(4), 300))
    found = compare(rows, Results(HEADER, rows), CONTENT)
    assert found.changed == [] and found.shared == 300 and "Prompt attacks" in found.differences
    for name, row in found.differences.items():
        for measure, each in row.items():
            assert each is None or (each.value == 0 and not found.significant(name, measure))


def test_runs_without_a_shared_example_are_refused() -> None:
    rows, others = by_id(judged("a", 0.5, unsafe=True)), by_id(judged("b", 0.5, unsafe=True))
    with pytest.raises(DataUnusable, match="share no example with the same label"):
        compare(rows, Results(HEADER, others), CONTENT)
