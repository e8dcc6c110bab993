"""Adaptive conformal inference: intervals that widen after misses and narrow after hits, as outcomes become known."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ml.intervals import GRID, LEVELS, curve

GAMMA = 0.02
"""How much of a session's excess of misses, over all symbols, goes into the next level that is asked for."""
OWN_GAMMA = GAMMA / 10
"""The same for the misses of one symbol: slower, because one symbol gives one outcome a session."""
FLOOR = 0.2
"""The least share of misses that is ever asked for, relative to the nominal one: an interval stays finite."""
WINDOW, REFRESH, MIN_SCORES = 1000, 20, 100
"""Sessions whose scores are the reference, how many sessions it stands, and how many scores it needs."""


class Shifts(NamedTuple):
    """State of the adaptation: what is added to the nominal share of misses (1 - level), per level.

    `common` [levels] holds for every symbol; `own` [symbols, levels] comes on top.
    """

    common: NDArray[np.float64]
    own: NDArray[np.float64]

    @classmethod
    def zero(cls, symbols: int, levels: int) -> "Shifts":
        """The nominal levels."""
        return cls(np.zeros(levels), np.zeros((symbols, levels)))

    def learn(
        self,
        codes: NDArray[np.intp],
        missed: NDArray[np.bool_],
        levels: NDArray[np.float64],
        gamma: float = GAMMA,
        own_gamma: float = OWN_GAMMA,
    ) -> "Shifts":
        """The state after outcomes that became known together.

        Parameters
        ----------
        codes : row in `own` of the symbol of each outcome, [N].
        missed : whether the outcome lay outside of the interval that was given then, [N, levels].

        References
        ----------
        Gibbs, Candes (2021), Adaptive conformal inference under distribution shift, equation 2.
        """
        excess = (1.0 - levels) - missed
        own = self.own.copy()
        np.add.at(own, codes, own_gamma * excess)
        return Shifts(self.common + gamma * excess.mean(axis=0), own)

    def levels(self, codes: NDArray[np.intp], levels: NDArray[np.float64]) -> NDArray[np.float64]:
        """Levels to ask for, [N, levels], so that intervals of symbols `codes` [N] cover as the nominal `levels` say.

        A code below zero is a symbol that the state does not know.
        """
        own = np.where(codes[:, None] >= 0, self.own[codes] if len(self.own) else 0.0, 0.0)
        nominal = 1.0 - levels
        return 1.0 - np.maximum(nominal + self.common + own, FLOOR * nominal)


def adaptive(
    scores: NDArray[np.floating],
    symbols: NDArray[np.generic],
    ts: NDArray[np.datetime64],
    known_at: NDArray[np.datetime64],
    *,
    levels: tuple[float, ...] = LEVELS,
    gamma: float = GAMMA,
    own_gamma: float = OWN_GAMMA,
) -> NDArray[np.float64]:
    """Quantile of the score for every forecast of a panel, from the outcomes that were known when it was made.

    Parameters
    ----------
    scores : conformal score of each forecast, [N] (`intervals.scores`); NaN where its outcome is not known at all.
    symbols, ts : symbol and session of each forecast, in any order.
    known_at : session at whose close the outcome was known (a 5-day label: 5 sessions later); NaT where it is not.

    Returns
    -------
    [N, levels], half-widths in the unit of the scores; NaN until `MIN_SCORES` are known.

    Notes
    -----
    The reference scores are those of the newest `WINDOW` sessions, of all symbols, renewed every `REFRESH` sessions.
    """
    nominal = np.asarray(levels)
    _, codes = np.unique(symbols, return_inverse=True)
    sessions, session = np.unique(ts, return_inverse=True)
    of_session = np.split(np.argsort(session, kind="stable"), np.cumsum(np.bincount(session))[:-1])
    taught = np.flatnonzero(np.isfinite(scores) & ~np.isnat(known_at))
    taught = taught[np.argsort(known_at[taught], kind="stable")]
    arrivals, first = np.unique(known_at[taught], return_index=True)
    edges = np.r_[first, len(taught)]
    quantiles = np.full((len(scores), len(levels)), np.nan)
    state = Shifts.zero(int(codes.max(initial=-1)) + 1, len(levels))
    reference: NDArray[np.float64] | None = None
    arrived, renewed = 0, 0
    for i, rows in enumerate(of_session):
        while arrived < len(arrivals) and arrivals[arrived] <= sessions[i]:
            outcomes = taught[edges[arrived] : edges[arrived + 1]]
            outcomes = outcomes[np.isfinite(quantiles[outcomes, 0])]
            if len(outcomes):
                missed = scores[outcomes, None] > quantiles[outcomes]
                state = state.learn(codes[outcomes], missed, nominal, gamma, own_gamma)
            arrived += 1
        if edges[arrived] >= MIN_SCORES and (reference is None or i - renewed >= REFRESH):
            reference, renewed = curve(scores[taught[edges[max(0, arrived - WINDOW)] : edges[arrived]]]), i
        if reference is not None:
            quantiles[rows] = np.interp(state.levels(codes[rows], nominal), GRID, reference)
    return quantiles
