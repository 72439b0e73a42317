"""Predictions and their fit as lines of text."""

import math
from collections import Counter

from sims.compare.fit import LEVEL, Fit, Z
from sims.compare.predict import Prediction

BEYOND_CHANCE = 0.05
"""Where the test of fit says that the model does not hold."""


def lines(predictions: list[Prediction]) -> list[str]:
    """A line for each row: what theory predicts, its interval, and what was observed."""
    width = max(len(one.row.label) for one in predictions)
    head = f"{'row':{width}}  {'rule':18} {'predicted':>9} {'low':>6} {'high':>6} {'observed':>8} {'z':>6}"
    return [head, *(_line(one, width) for one in predictions)]


def _line(one: Prediction, width: int) -> str:
    if math.isnan(one.predicted):
        return (
            f"{one.row.label:{width}}  {one.rule:18} {'':9} {'':6} {'':6} {one.row.student:8.4f} {'':6}  {one.remark}"
        )
    reach = (
        "" if math.isnan(one.error) else f"{one.predicted - Z * one.error:6.3f} {one.predicted + Z * one.error:6.3f}"
    )
    z = f"{one.z:6.2f}" if one.error > 0 else ""
    text = f"{one.row.label:{width}}  {one.rule:18} {one.predicted:9.4f} {reach:13} {one.row.student:8.4f} {z:6}"
    return f"{text}  {one.remark}".rstrip()


def summary_lines(predictions: list[Prediction], found: Fit) -> list[str]:
    """What holds over all rows, in sentences."""
    rules = Counter(one.rule for one in predictions if not math.isnan(one.predicted))
    said = [
        f"{found.count} of {len(predictions)} rows are predicted: "
        + (", ".join(f"{count} {rule}" for rule, count in rules.items()) or "none")
        + "."
    ]
    if not found.count:
        return said
    said.append(
        f"Observed less predicted: {found.mean_error:+.4f} on average (SEM {found.sem:.4f}), root mean square "
        f"{found.rmse:.4f}."
    )
    others = f"{found.teacher_rmse:.4f} for its teacher's accuracy"
    if not math.isnan(found.ceiling_rmse):
        others += f", {found.ceiling_rmse:.4f} for its ceiling's"
    said.append(f"The same root mean square is {others} in place of the prediction.")
    if not math.isnan(found.slope):
        said.append(
            f"Observed rises by {found.slope:.2f} per unit predicted; their correlation is {found.correlation:.2f}."
        )
    if found.with_interval:
        said.append(
            f"{found.covered:.0%} of {found.with_interval} rows lie in their interval of {LEVEL:.0%}; sampling of test "
            f"inputs explains {min(found.binomial_share, 1):.0%} of the mean square error."
        )
        holds = found.p_value >= BEYOND_CHANCE
        verdict = "the model is not refuted" if holds else "the model does not hold in full"
        said.append(
            f"Test of fit: chi^2 = {found.chi_square:.1f} of {found.with_interval}, p = {found.p_value:.2g}: {verdict}."
        )
    else:
        said.append("No row has n, so that there is no interval and no test of fit.")
    return said
