"""How sure a share is that was counted."""

from __future__ import annotations

from statistics import NormalDist
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike


def wilson_interval(
    successes: ArrayLike, trials: ArrayLike, confidence: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """The bounds of a share of which ``successes`` of ``trials`` were seen; NaN where there were no trials.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal of the
    American Statistical Association 22 (1927). Unlike the share plus and minus its standard error, it stays
    within 0 and 1 and says something also when all trials ended the same. It supposes that one check tells
    nothing about the next one: of a service that fails for hours on end the true bounds are wider.

    Raises `ValueError` for a confidence that is not between 0 and 1.
    """
    import numpy as np

    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence!r}")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    n = np.asarray(trials, dtype=float)
    n = np.where(n > 0, n, np.nan)
    share = np.asarray(successes, dtype=float) / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # Rounding must not put a bound on the wrong side of what was seen.
    return np.clip(np.minimum(middle - half, share), 0, 1), np.clip(np.maximum(middle + half, share), 0, 1)
