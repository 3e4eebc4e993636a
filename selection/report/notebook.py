"""The answer of a study as a small piece of HTML, as notebooks show it."""

from __future__ import annotations

from html import escape

from selection.report.answer import answer
from selection.report.cells import show_value
from selection.report.study_view import StudyView
from selection.report.verdict import member_lines, winner_name
from selection.report.warnings import early_warnings, study_warnings
from selection.study.ensemble import Ensemble
from selection.workflows.assess import Assessment


def study_html(view: StudyView, assessment: Assessment | None) -> str:
    """Return the state of a study, its winner, and each score with its kind."""
    head = f"study <b>{escape(view.study.name)}</b>: {view.finished} of {view.spec.budget} trials"
    found = (
        early_warnings(view.study, view.trials)
        if assessment is None
        else study_warnings(assessment)
    )
    winner = None if assessment is None else assessment.winner
    lines = [f"<p>{head}, {view.state}</p>"]
    lines += [f"<p>warning: {escape(each.text)}</p>" for each in found]
    if isinstance(winner, Ensemble):
        named = [f"winner: {winner_name(winner)}", *member_lines(winner)]
        lines += [f"<p>{escape(line)}</p>" for line in named]
    elif winner is not None:
        params = ", ".join(f"{name} = {show_value(value)}" for name, value in winner.params.items())
        lines.append(f"<p>winner: trial {winner.number} ({escape(params)})</p>")
    rows = [
        f"<tr><td>{escape(each.label)}</td><td>{escape(each.kind)}</td>"
        f"<td><b>{escape(each.value)}</b></td><td>{escape(each.detail)}</td></tr>"
        for each in answer(view, assessment, "no trial is complete yet")
    ]
    return "".join([*lines, "<table>", *rows, "</table>"])
