# Licensed under a 3-clause BSD style license - see LICENSE
"""
Checks, findings and the report of an audit.
"""

from dataclasses import dataclass, replace

import numpy as np
from astropy.table import Table

from ..utils.scratch import copy_where, empty
from .limits import LIMITS

__all__ = ['CONSEQUENCES', 'AuditReport', 'Finding', 'judge', 'severity']

#: The consequences of a check, in increasing order of severity.
CONSEQUENCES = 'not checked', 'ok', 'note', 'returned', 'warning', 'refusal'
# Groups of checks that fail for one common fault, by the first part of their names: a message has one of each.
_MECHANISMS = ({'noise', 'removed variance', 'innovations'}, {'flux', 'flux in boxes', 'removed flux'},
               {'finite', 'pixels', 'explained', 'range'}, {'correction'})
# Largest number of findings in a message.
_GRAVEST = 2
_PART = ' ('   # starts the part of the image after the name of a check
_OF_BEAM = 'innovations', 'dark pixels'   # checks that sources may fail after the beam was removed
# Checks of variances that are too small if the prediction follows noise that neighbours have in common.
_FOLLOWED = 'noise', 'innovations', 'removed variance'


@dataclass(frozen=True)
class Finding:
    """
    A check of a result against its own data.

    Parameters
    ----------
    name : str
        Name of the check, with the part of the image in brackets where there are several.
    value : float
        The measured number.
    expected : float
        The expected number for a correct result.
    significance : float
        Their difference in units of its expected error.
    limit : float
        The least absolute difference that is a finding.
    threshold : float
        The least significance that is a finding.
    consequence : str
        One of ``CONSEQUENCES``.
    message : str
        Description of the finding, with the possible fault; empty without a finding.

    Examples
    --------
    >>> from astropy_n2v.audit import Finding
    >>> finding = Finding('flux', 1.02, 1.0, significance=6.0, limit=0.01, threshold=5.0, consequence='warning')
    >>> finding.value, finding.consequence
    (1.02, 'warning')
    """

    name: str
    value: float
    expected: float
    significance: float
    limit: float
    threshold: float
    consequence: str = 'ok'
    message: str = ''


@dataclass(frozen=True, eq=False)
class AuditReport:
    """
    All checks of a result.

    Parameters
    ----------
    checks : tuple of Finding
        All checks, including those without a finding and those that could not be made.
    levels, factors : `~numpy.ndarray`
        Factors of the uncertainty, at least 1, and the values of the result at which they hold, in data units,
        increasing.
    n_returned : int
        Number of pixels that the noise does not explain and that should be returned as measured.
    growth : tuple of float, optional
        Variance of the noise on the background, and its growth with the signal, if innovations show that the growth in
        the noise model is too small; see ``audit.growth.noise_growth``.

    Examples
    --------
    >>> from astropy_n2v.audit import AuditReport
    >>> report = AuditReport()
    >>> report.summary(), report.worst, report.factor
    ('ok', 'ok', 1.0)
    """

    checks: tuple = ()
    levels: np.ndarray = None
    factors: np.ndarray = None
    n_returned: int = 0
    growth: tuple = None

    @property
    def blames_noise(self):
        """True if a finding can be due to a wrong noise model."""
        return any(_mechanism(check) is _MECHANISMS[0] for check in self.findings)

    @property
    def findings(self):
        """Findings, worst first: by their consequence, then by their excess over the threshold."""
        found = [check for check in self.checks if CONSEQUENCES.index(check.consequence) > 1]
        return tuple(sorted(found, key=_gravity, reverse=True))

    @property
    def worst(self):
        """The worst consequence; 'ok' if nothing was found."""
        return self.findings[0].consequence if self.findings else 'ok'

    @property
    def factor(self):
        """The largest factor of the uncertainty."""
        return 1.0 if self.factors is None else float(np.max(self.factors))

    def enlarge(self, mean, std, keep=None):
        """
        Enlarge an uncertainty where it was found to be too small.

        Parameters
        ----------
        mean, std : `~numpy.ndarray`
            The result and its uncertainty, in data units.
        keep : `~numpy.ndarray` of bool, optional
            True for pixels that were returned as measured: their uncertainty is the noise, and is kept.

        Returns
        -------
        `~numpy.ndarray`
            The larger uncertainty; ``std`` itself if nothing was found.
        """
        if self.factor <= 1:
            return std
        larger = empty(std.shape, std.dtype)
        for i in range(len(std)):   # row by row, since factors are in double precision
            larger[i] = std[i] * np.interp(mean[i], self.levels, self.factors)
        if keep is not None:
            copy_where(keep, std, larger)
        return larger

    def summary(self):
        """
        Summarise the findings in one line, short enough for a card.

        Returns
        -------
        str
            'ok', or the worst consequence with the names of the findings.
        """
        if not self.findings:
            return 'ok'
        names = list(dict.fromkeys(check.name.split(_PART)[0] for check in self.findings))
        text = f'{self.worst}: {", ".join(names)}'
        return text if len(text) <= 68 else text[:65] + '...'

    def without_leak(self):
        """
        Drop findings of variances that are too small.

        Where neighbours outside of the hole have noise in common with a pixel, the blind prediction follows it, and the
        residual is smaller than the noise. This is no evidence for smaller noise, and the result is corrected for it.

        Returns
        -------
        AuditReport
            The report, in which these checks are passed.
        """
        checks = tuple(replace(check, consequence='ok', message='')
                       if check.name.split(_PART)[0] in _FOLLOWED and check.message and check.value < check.expected
                       else check for check in self.checks)
        return replace(self, checks=checks)

    def without_beam(self):
        """
        Drop findings of innovations by part of the image, and of dark pixels.

        After the filter has removed the beam from the noise, sources are sharper than in the training data. They are
        returned as measured, and a separate warning names the beam.

        Returns
        -------
        AuditReport
            The report, in which these checks are passed.
        """
        checks = tuple(replace(check, consequence='ok', message='') if check.name.split(_PART)[0] in _OF_BEAM else check
                       for check in self.checks)
        return replace(self, checks=checks)

    def message(self, noise=None):
        """
        Describe the two gravest findings of different kinds, and give the number of others.

        Parameters
        ----------
        noise : str, optional
            A better sentence to replace findings that the noise is wrong; it comes first. Empty: leave these out.

        Returns
        -------
        str
            A sentence or two; empty if nothing was found.
        """
        chosen, kinds, others = [noise] if noise else [], [] if noise is None else [_MECHANISMS[0]], 0
        for check in self.findings:
            if _mechanism(check) not in kinds and len(chosen) < _GRAVEST:
                chosen.append(check.message)
                kinds.append(_mechanism(check))
            else:
                others += noise is None or _mechanism(check) is not _MECHANISMS[0]
        text = '; '.join(chosen)
        return text + (f' (and {others} other finding{"s" if others > 1 else ""}, see full_output)' if others else '')

    def table(self):
        """
        List all checks.

        Returns
        -------
        `~astropy.table.Table`
            A row for each check, with the columns of `Finding`.
        """
        names = list(Finding.__dataclass_fields__)
        rows = [tuple(getattr(check, name) for name in names) for check in self.checks]
        dtype = ('U40', float, float, float, float, float, 'U12', 'U400')
        table = Table(rows=rows, names=names, dtype=dtype) if rows else Table(names=names, dtype=dtype)
        for name in ('value', 'expected', 'significance', 'limit', 'threshold'):
            table[name].format = '.4g'   # format of the printed table; values keep their precision
        return table


def _gravity(check):
    return CONSEQUENCES.index(check.consequence), abs(check.significance) / max(check.threshold, 1)


def _mechanism(check):
    """Return the checks that fail together with one, or its own name."""
    name = check.name.split(_PART)[0]
    return next((kind for kind in _MECHANISMS if name in kind), name)


def severity(report):
    """
    Rank the worst consequence of a report.

    Parameters
    ----------
    report : AuditReport
        The report.

    Returns
    -------
    int
        Its position in ``CONSEQUENCES``.

    Examples
    --------
    >>> from astropy_n2v.audit import AuditReport, severity
    >>> severity(AuditReport())
    1
    """
    return CONSEQUENCES.index(report.worst)


def judge(name, value, expected, significance, *, message='', limit=None, consequence='warning'):
    """
    Compare a number with its limits.

    Parameters
    ----------
    name : str
        Name of the check, see `Finding`.
    value, expected, significance : float
        The measured and the expected number, and their difference in units of its expected error.
    message : str, optional
        Text of a finding.
    limit : Limit, optional
        By default the limit in `LIMITS` for the name, or for its first part.
    consequence : str, optional
        One of ``CONSEQUENCES``, of a finding that is not a refusal.

    Returns
    -------
    Finding
        'not checked' where the significance is NaN.
    """
    limit = limit or LIMITS.get(name) or LIMITS[name.split(' (')[0]]
    side = 'below' if value < expected else 'above'
    least, sigma = getattr(limit, side), getattr(limit, f'sigma_{side}')
    numbers = [float(number) for number in (value, expected, significance, least, sigma)]
    if np.isnan(numbers[:3]).any():
        return Finding(name, *numbers, 'not checked')
    difference = abs(value - expected)
    if abs(significance) <= sigma or difference <= least:
        return Finding(name, *numbers)
    return Finding(name, *numbers, 'refusal' if difference > limit.refused else consequence, message)
