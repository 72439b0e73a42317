"""The tables of the documents, each a function of committed results; `python -m sims.report --docs` writes them."""

from collections.abc import Callable

from sims.tables import alignment, arena, language, leaderboard, networks, published, speed, theory, values
from sims.tables.sources import Sources

TABLES: dict[str, Callable[..., str]] = {
    "alignment": alignment.methods,
    "alignment_capability": alignment.capability,
    "alignment_examples": alignment.examples,
    "alignment_naming": alignment.naming,
    "arena": arena.methods,
    "leaderboard": leaderboard.board,
    "submissions": leaderboard.submissions,
    "network_risk": networks.risk,
    "network_kl": networks.divergence,
    "network_speed": speed.networks,
    "contenders": speed.contenders,
    "ladder": speed.ladder,
    "growth": speed.growth,
    "memory": speed.memory,
    "planning": speed.planning,
    "profile": speed.profile,
    "limits": speed.limits,
    "scale": speed.scale,
    "startup": speed.startup,
    "statistical_dimension": theory.statistical_dimension,
    "contaminated_exponent": theory.contaminated_exponent,
    "one_example": theory.one_example,
    "claims": values.claims,
    "language": language.language,
    "language_examples": language.language_examples,
    "language_known": language.known,
    "language_speed": language.speed,
    "published_accuracies": published.accuracies,
    "published_copied": published.copied,
}
"""What a mark `<!-- table: NAME ARGUMENTS -->` may name."""
VALUES: dict[str, Callable[..., str]] = {
    "claim": values.claim,
    "cell": values.cell,
    "coverage": values.coverage,
    "coverage_grid": values.coverage_grid,
    "rate": speed.rate,
    "score": alignment.score,
    "lengths": alignment.lengths,
}
"""What a mark `<!-- value: NAME ARGUMENTS -->` may name."""

__all__ = ["TABLES", "VALUES", "Sources"]
