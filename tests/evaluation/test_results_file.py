"""The results file: what a stopped run left is gone on from, and another run's is refused."""

from pathlib import Path

import pytest

from tests.evaluation.synthetic import HEADER, judged
from worker.contract.verdict import ModelRef
from worker.evaluation.labelled_example import DataUnusable
from worker.evaluation.results_file import continued, read_results, results_path


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    rows = [judged("a", 0.9, unsafe=True, categories=["S1"], attack=False, attack_score=0.1), judged("b", None)]
    with continued(tmp_path / "deep" / "results.jsonl", HEADER) as (writer, there):
        assert there.rows == {}
        for row in rows:
            writer.add(row)
    for path in (tmp_path / "deep", tmp_path / "deep" / "report.json", tmp_path / "deep" / "results.jsonl"):
        found = read_results(path)
        assert (found.header, list(found.rows.values())) == (HEADER, rows)


def test_half_a_line_is_cut_off_and_the_newest_row_of_an_id_counts(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    with continued(path, HEADER) as (writer, _):
        writer.add(judged("a", None))
    path.write_bytes(path.read_bytes() + b'{"id": "b", "unsafe_sc')  # as a kill leaves it
    with continued(path, HEADER) as (writer, there):
        assert list(there.rows) == ["a"]
        writer.add(judged("a", 0.7))
    assert [(row.id, row.unsafe_score) for row in read_results(path).rows.values()] == [("a", 0.7)]


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"data_fingerprint": "ffff"}, r"other data: 0123456789abcdef \(synthetic.jsonl\), and now it is ffff"),
        ({"policy_hash": "ffff"}, "other policy: default .*, and now it is default ffff"),
        ({"models": (ModelRef(id="fake", revision="new", stand_in=True),)}, "other models: .*now it is fake@new"),
    ],
)
def test_another_run_is_refused_and_its_file_left_alone(tmp_path: Path, other: dict[str, object], said: str) -> None:
    path = tmp_path / "results.jsonl"
    with continued(path, HEADER) as (writer, _):
        writer.add(judged("a", 0.5))
    before = path.read_bytes()
    refused = pytest.raises(DataUnusable, match=said + ".*Name another directory with --output")
    with refused, continued(path, HEADER.model_copy(update=other)):
        pass
    assert path.read_bytes() == before


def test_what_is_no_results_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    with pytest.raises(DataUnusable, match=r"results\.jsonl: No such file"):
        read_results(tmp_path)
    path.write_text('{"id": "a"}\n')
    with pytest.raises(DataUnusable, match=r"results\.jsonl:1: is no results file"):
        read_results(path)
    path.write_text(HEADER.model_dump_json() + "\nnonsense\n")
    with pytest.raises(DataUnusable, match=r"results\.jsonl:2: is no line of a results file"):
        read_results(path)
    path.write_text(HEADER.model_copy(update={"results_format": 9}).model_dump_json() + "\n")
    with pytest.raises(DataUnusable, match="its format is 9; this version reads 1"):
        read_results(path)
    assert results_path(Path("other.jsonl")) == Path("other.jsonl")
