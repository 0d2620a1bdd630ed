"""The paper's figures: typing errors that its own arithmetic and its two tables of FDAN can find."""

from __future__ import annotations

import pytest

from fdan_edge.experiments import paper_scores
from fdan_edge.experiments.paper_tables import ROWS, TABLES


def test_the_baselines_on_savee_are_shares_of_96_recordings() -> None:
    """2/10 of 480; the paper cuts the second decimal off. FDAN's own figures are not of this form."""
    plain = [row for row in paper_scores.TABLES["table1"]["savee"] if row.row and row.row != "fdan"]
    assert len(plain) == 5
    for row in plain:
        assert row.war is not None
        assert row.war == int(round(row.war * 0.96) / 96 * 10000) / 100


@pytest.mark.parametrize(("corpus", "table"), [("savee", "table1"), ("meld", "table2")])
def test_fdan_is_the_same_in_two_tables(corpus: str, table: str) -> None:
    row, other = (paper_scores.rows(name, (corpus,))[-1] for name in (table, "table4"))
    assert row.row == other.row == "fdan"
    assert (row.war, row.uar) == (other.war, other.uar)


def test_every_row_is_one_of_ours_or_of_another_method() -> None:
    for table, corpora in paper_scores.TABLES.items():
        for rows in corpora.values():
            assert [row.row for row in rows if row.row] == list(TABLES[table])
            for row in rows:
                assert row.row is None or row.row in ROWS
                scores = [score for score in (row.war, row.uar, row.wf1) if score is not None]
                assert scores
                assert all(40 < score < 90 for score in scores)


def test_other_corpora_have_no_figures() -> None:
    assert paper_scores.rows("table1", ("ravdess",)) == paper_scores.rows("table1", ("meld",)) == ()
    assert paper_scores.rows("table1", ("meld", "savee")) == ()
    assert len(paper_scores.rows("table1", ("savee",))) == 9
    assert len(paper_scores.rows("table2", ("meld",))) == 11
