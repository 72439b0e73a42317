"""The studies of a theory sweep, one a file: what one replicate of each simulates, on which axes.

A study stores the mean, standard error and covariance of its quantities in `<study>_mean`, `<study>_sem` and
`<study>_cov`, over the dims `<study>_quantity` and `<study>_<axis>`.
"""

from sims.theory_sweep.studies import (
    accuracy_plane,
    contamination,
    em_ladder,
    hull,
    misfit,
    mixture_target,
    proportional,
    relaxed,
    scaling_laws,
    self_training,
    spurious,
)
from sims.theory_sweep.studies.study import Study

STUDIES: dict[str, Study] = {
    "hull": hull.STUDY,
    "em_ladder": em_ladder.STUDY,
    "mixture_target": mixture_target.STUDY,
    "contamination": contamination.STUDY,
    "relaxed": relaxed.STUDY,
    "misfit": misfit.STUDY,
    "proportional": proportional.STUDY,
    "accuracy_plane": accuracy_plane.STUDY,
    "scaling_laws": scaling_laws.STUDY,
    "self_training": self_training.STUDY,
    "spurious": spurious.STUDY,
}
"""Every study by name; a new one is a file and a line here."""
