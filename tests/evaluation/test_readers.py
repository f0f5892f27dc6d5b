"""Labelled data in every form, and what is said of rows that are none."""

import json
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import ipc, parquet

from worker.evaluation.data_set import DataSet, Survey
from worker.evaluation.labelled_example import DataUnusable, LabelledExample, Skipped
from worker.evaluation.readers.fields import RowFields

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def lines(path: Path, *rows: Any) -> Path:
    """A file with a row a line: JSON of what is no text already."""
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows) + "\n")
    return path


def read(*paths: Path, **options: Any) -> tuple[list[LabelledExample], list[str]]:
    """The examples, and what is said of the rest."""
    fields = RowFields(**{key: options.pop(key) for key in list(options) if key not in ("format", "split")})
    found = list(DataSet(paths, fields, **options).examples())
    examples = [each for each in found if isinstance(each, LabelledExample)]
    return examples, [f"{each.place}: {each.reason}" for each in found if isinstance(each, Skipped)]


# -- JSON lines -------------------------------------------------------------------------------------------------------


def test_every_form_of_a_json_line(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "a reply"}]
    event = {"event_id": "e-7", "conversation_id": "c", "tenant": "acme", "policy": "strict", "messages": messages}
    image = {"type": "image", "data": PIXEL}
    path = lines(
        tmp_path / "data.jsonl",
        {"id": "a", "text": "hello", "label": "unsafe", "categories": ["S10", "S2"], "group": "multilingual/fr"},
        {"prompt": "hello", "response": "a reply", "label": 0, "category": "hate"},
        {"event": event, "label": "safe", "label_source": "review"},
        {**event, "event_id": "e-8", "unsafe": True, "categories": "S1, s9"},
        {"messages": [{"role": "user", "content": [image, image]}], "label": "safe"},
        {"text": "what is it?", "image": PIXEL, "prompt_attack": False},
        "",
        {"text": "hello", "language": "th", "flagged": False},
    )
    examples, said = read(path)
    assert said == []
    first, second, third, fourth, fifth, sixth, last = examples
    assert (first.id, first.label, first.categories, first.group) == ("a", "unsafe", ("S2", "S10"), "multilingual/fr")
    assert (second.id, second.label, second.categories) == ("data.jsonl:2", "safe", ("S10",))
    assert [message.role for message in second.event.messages] == ["user", "assistant"]
    assert (third.id, third.event.tenant, third.event.policy, third.label_source) == ("e-7", "acme", None, "review")
    assert (fourth.id, fourth.label, fourth.categories) == ("e-8", "unsafe", ("S1", "S9"))
    assert (fifth.group, len(fifth.event.messages[0].images)) == ("multi_image", 2)
    assert (sixth.group, sixth.label, sixth.prompt_attack) == ("single_image", None, False)
    assert (last.group, str(last.place)) == ("multilingual/th", "data.jsonl:8")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"text": "secret"}, "no label: none of label, unsafe, flagged"),
        ({"text": "secret", "label": ""}, "no label"),
        ({"text": "secret", "label": "dubious"}, "label: unknown label 'dubious'; known are safe, unsafe, 0, 1"),
        ({"text": "x", "label": "secret words in here"}, "label: unknown label of 20 characters"),
        ({"text": "secret", "label": "unsafe", "categories": ["S15"]}, "categories: unknown category 'S15'"),
        ({"text": "secret", "label": "unsafe", "categories": "[1"}, "looks like a JSON list and is none"),
        ({"text": "secret", "label": "unsafe", "categories": {"S1": True}}, "categories: must be a list"),
        ({"text": "secret", "label": "safe", "group": "forum"}, "unknown group 'forum'; known are english"),
        ({"text": "secret", "label": "safe", "group": "multilingual"}, "unknown group 'multilingual'"),
        ({"label": "safe"}, "nothing to judge"),
        ({"text": 7, "label": "safe"}, "text: is int, not text"),
        ({"messages": [], "label": "safe"}, "messages: must not be empty"),
        ({"messages": [{"role": "wizard", "content": "secret"}], "label": "safe"}, "messages.0.role: Input should be"),
        ({"messages": [{"role": "user", "content": [{"type": "secret"}]}], "label": "safe"}, "unknown part type"),
        (["secret"], "not an object with named fields"),
        ("{secret", "not JSON: "),
        ("\x00", "not JSON"),
    ],
)
def test_a_bad_row_is_named_with_its_line_and_without_its_content(tmp_path: Path, row: Any, said: str) -> None:
    good = {"text": "fine", "label": "safe"}
    examples, skipped = read(lines(tmp_path / "data.jsonl", good, row, good))
    assert [str(example.place) for example in examples] == ["data.jsonl:1", "data.jsonl:3"]
    (line,) = skipped
    assert line.startswith("data.jsonl:2: ") and said in line and "secret" not in line


def test_the_first_of_equal_ids_stands(tmp_path: Path) -> None:
    one = lines(tmp_path / "one.jsonl", {"id": "a", "text": "x", "label": 1}, {"id": "a", "text": "y", "label": 0})
    two = lines(tmp_path / "two.jsonl", {"id": "a", "text": "z", "label": 0}, {"id": 7, "text": "z", "label": 0})
    examples, skipped = read(one, two)
    assert [(example.id, example.label) for example in examples] == [("a", "unsafe"), ("7", "safe")]
    assert skipped == ["one.jsonl:2: the id 'a' was there before", "two.jsonl:1: the id 'a' was there before"]


def test_what_the_label_means_can_be_said(tmp_path: Path) -> None:
    rows = [{"q": "x", "verdict": "Hateful"}, {"q": "y", "verdict": "fine"}]
    path = lines(tmp_path / "data.jsonl", *rows)
    examples, _ = read(path, text="q", label="verdict", unsafe_values=frozenset({"hateful"}), default_group="forum",
                       own_groups=frozenset({"forum"}))  # fmt: skip
    assert [(each.label, each.group) for each in examples] == [("unsafe", "forum"), ("safe", "forum")]
    attacks = lines(tmp_path / "attacks.jsonl", {"text": "x", "label": "jailbreak"}, {"text": "x", "label": "benign"})
    examples, _ = read(attacks, label_means="prompt-attack")
    assert [(each.label, each.prompt_attack) for each in examples] == [(None, True), (None, False)]
    _, said = read(path, text="missing")
    assert "no column 'missing'; it has q, verdict" in said[0]


# -- OpenAI's moderation data -----------------------------------------------------------------------------------------


def test_openais_evaluation_set_and_kept_answers(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "samples-1680.jsonl",
        {"prompt": "x", "S": 0, "H": 1, "V": 1, "HR": 0, "SH": 0, "S3": 0, "H2": 0, "V2": 0},
        {"prompt": "x", "S": 0, "H": None},
        {"prompt": "x", "HR": 1},
        {"input": "x", "results": [{"flagged": True, "categories": {"self-harm": True, "hate": False}}]},
        {"id": "own", "input": "x", "flagged": False, "categories": {}},
        {"prompt": "x"},
        {"input": "x", "flagged": True, "categories": {"boredom": True}},
        {"prompt": None, "S": 1},
    )
    examples, said = read(path, format="openai")
    assert [(each.label, each.categories) for each in examples] == [
        ("unsafe", ("S1", "S10")),
        ("safe", ()),
        ("unsafe", ()),  # harassment has no category near it
        ("unsafe", ("S11",)),
        ("safe", ()),
    ]
    assert examples[-1].id == "own"
    assert [line.partition(": ")[2][:40] for line in said] == [
        "no label: neither categories nor flagged",
        "categories: unknown OpenAI category 'bor",
        "nothing to judge: none of event, message",
    ]


# -- CSV --------------------------------------------------------------------------------------------------------------


def test_csv_with_quotes_line_breaks_and_bad_rows(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text(
        "\ufefftext,label,category\n"
        '"two\nlines, ""quoted""",unsafe,S1;S2\n'
        "short,0\n"
        "plain,0,\n"
        f'"{"long " * 40_000}",1,Hate\n',
        encoding="utf-8",
    )
    examples, said = read(path)
    assert [example.event.messages[0].text[:11] for example in examples] == ["two\nlines, ", "plain", "long long l"]
    assert [example.categories for example in examples] == [("S1", "S2"), (), ("S10",)]
    assert [example.place.line for example in examples] == [2, 5, 6]
    assert said == ["data.csv:4: 2 values for 3 columns"]
    tabs = tmp_path / "data.tsv"
    tabs.write_text("text\tlabel\na, b\t1\n")
    assert read(tabs)[0][0].event.messages[0].text == "a, b"


def test_a_csv_without_a_header_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.csv").touch()
    with pytest.raises(DataUnusable, match=r"empty\.csv: is empty; a CSV needs a header"):
        read(tmp_path / "empty.csv")


# -- parquet, and Hugging Face's data sets ----------------------------------------------------------------------------


def table(**columns: list[Any]) -> pa.Table:
    """As `datasets` writes it: integers of a ClassLabel have their names in the metadata."""
    features = {"label": {"names": ["OK", "HATEFUL"], "_type": "ClassLabel"}}
    about = json.dumps({"info": {"features": features}}).encode()
    return pa.table(columns).replace_schema_metadata({b"huggingface": about})


def test_a_data_set_on_disk_with_splits(tmp_path: Path) -> None:
    """As `DatasetDict.save_to_disk` leaves it."""
    for split, texts in (("train", ["a"]), ("test", ["b", "c"])):
        (tmp_path / "set" / split).mkdir(parents=True)
        content = table(text=texts, label=[1, 0][: len(texts)])
        with ipc.new_stream(tmp_path / "set" / split / "data-00000-of-00001.arrow", content.schema) as stream:
            stream.write_table(content)
    with pytest.raises(DataUnusable, match="has the splits test, train; --split chooses one"):
        read(tmp_path / "set")
    with pytest.raises(DataUnusable, match="no split 'dev'; it has test, train"):
        read(tmp_path / "set", split="dev")
    names = {"unsafe_values": frozenset({"hateful"})}
    examples, said = read(tmp_path / "set", split="test", **names)
    assert said == []
    assert [(each.event.messages[0].text, each.label) for each in examples] == [("b", "unsafe"), ("c", "safe")]


def test_parquet_with_messages_and_pictures(tmp_path: Path) -> None:
    path = tmp_path / "test-00000-of-00001.parquet"
    messages = [[{"role": "user", "content": "hi"}], None, None]
    pictures = [None, {"bytes": b"\x89PNG", "path": None}, None]
    parquet.write_table(table(messages=messages, image=pictures, unsafe=[True, False, True]), path)
    examples, said = read(tmp_path)
    assert [(each.group, each.label) for each in examples] == [("ungrouped", "unsafe"), ("single_image", "safe")]
    assert len(said) == 1 and said[0].startswith("test-00000-of-00001.parquet:3: nothing to judge")


def test_what_is_no_parquet_is_named(tmp_path: Path) -> None:
    path = lines(tmp_path / "broken.parquet", "not parquet")
    with pytest.raises(DataUnusable, match=r"broken\.parquet: cannot be read after row 0"):
        read(path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataUnusable, match=r"has no \.parquet or \.arrow file"):
        read(tmp_path / "empty")


def test_without_pyarrow_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "a.parquet").touch()
    with pytest.raises(DataUnusable, match=r"needs pyarrow. Install it: pip install 'moderation-worker\[parquet\]'"):
        read(tmp_path / "a.parquet")


# -- data sets --------------------------------------------------------------------------------------------------------


def test_files_that_cannot_be_told(tmp_path: Path) -> None:
    with pytest.raises(DataUnusable, match="there is no such file"):
        read(tmp_path / "missing.jsonl")
    path = lines(tmp_path / "data.txt", {"text": "x", "label": 1})
    with pytest.raises(DataUnusable, match=r"no telling its format by its name .* --format says it"):
        read(path)
    assert len(read(path, format="jsonl")[0]) == 1


def test_the_fingerprint_tells_data_and_reading_apart(tmp_path: Path) -> None:
    path = lines(tmp_path / "data.jsonl", {"text": "x", "label": 1})
    prints = [DataSet((path,)).fingerprint(), DataSet((path,), RowFields(label_means="prompt-attack")).fingerprint()]
    lines(path, {"text": "x", "label": 0})
    prints.append(DataSet((path,)).fingerprint())
    lines(path, {"text": "x", "label": 1})
    assert len(set(prints)) == 3 and DataSet((path,)).fingerprint() == prints[0]


def test_a_survey_says_what_the_figures_will_lack(tmp_path: Path) -> None:
    row = {"text": "x", "label": 1}
    survey = Survey(DataSet((lines(tmp_path / "one.jsonl", row),)))
    assert list(survey.warnings()) == [
        "all labelled content is unsafe: there is no false positive rate, and no curve",
        "1 example: the intervals say how little that tells",
    ]
    many = [{**row, "id": number, "label": number % 2, "prompt_attack": True} for number in range(40)]
    survey = Survey(DataSet((lines(tmp_path / "many.jsonl", *many, *["bad"] * 30),)), most_named=5)
    assert (survey.examples, survey.skipped, len(survey.named)) == (40, 30, 5)
    assert list(survey.warnings()) == [
        "all that is labelled for prompt attacks is attacks: no AUC, no recall at 1 % FPR"
    ]
