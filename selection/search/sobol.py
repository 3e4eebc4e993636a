"""The start of a study: the points of one scrambled Sobol sequence, one for each trial number.

Source: Owen (1998), "Scrambling Sobol' and Niederreiter-Xing points".
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from selection.search.unit_cube import from_unit
from selection.seeds import seed32_for
from selection.study.spec import StudySpec
from selection.study.trial import Value


def sobol_points(spec: StudySpec, number: int) -> Iterator[dict[str, Value]]:
    """Yield the params of trial number, and of those after it.

    The sequence follows from the seed and the space alone. So cohorts that start together, or one
    after the other, continue it.
    """
    # Importing SciPy takes longer than all else here.
    from scipy.stats import qmc

    space = spec.space
    # In a thread, which no Ctrl-C reaches: SciPy would lose it, and draw other points, if it came
    # while it reads a file of its own.
    with ThreadPoolExecutor(1) as thread:
        seed = seed32_for(spec.seed, "sobol")
        engine = thread.submit(qmc.Sobol, len(space), scramble=True, rng=seed).result()
    if number:
        engine.fast_forward(number)
    while True:
        shares = engine.random()[0].tolist()  # (D,)
        yield {
            name: from_unit(dimension, share)
            for (name, dimension), share in zip(space.items(), shares, strict=True)
        }
