# Licensed under a 3-clause BSD style license - see LICENSE
"""
Outcome of a file.
"""

from dataclasses import dataclass, field
from pathlib import Path

__all__ = ['FileRecord']


@dataclass
class FileRecord:
    """
    Outcome for a file.

    Parameters
    ----------
    path : `pathlib.Path`
        The input, as it was given: with an extension in brackets, it may be.
    output : `pathlib.Path`
        The file that was to be written.
    status : {'running', 'done', 'skipped', 'failed'}
        How far it is; 'skipped' if its result was there already.
    error : str
        Why it failed; empty if it did not.
    seconds : float
        How long it took.
    denoised, unchanged : list of str
        HDUs whose data were replaced, and those that were chosen but passed through.
    images : list of `~astropy_n2v.io.ImageResult`
        The outcome of each image; see `~astropy_n2v.batch.summary_table`. A file that failed has one, without an
        HDU; a file that was skipped has none.
    warnings, messages : list of str
        Warnings about it, also logged ones.
    entry : dict
        Its line in the journal; of a file that was skipped, the line of the run that made its result. Empty without a
        journal.

    Examples
    --------
    >>> from astropy_n2v.batch import FileRecord
    >>> FileRecord('a.fits', 'out/a_n2v.fits').status
    'running'
    """

    path: Path
    output: Path
    status: str = 'running'
    error: str = ''
    seconds: float = 0.0
    denoised: list = field(default_factory=list)
    unchanged: list = field(default_factory=list)
    images: list = field(default_factory=list)
    warnings: list = field(default_factory=list)
    messages: list = field(default_factory=list)
    entry: dict = field(default_factory=dict)
