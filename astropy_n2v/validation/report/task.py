# Licensed under a 3-clause BSD style license - see LICENSE
"""
A frame that is to be judged, and its measures.
"""

from dataclasses import dataclass, field

import numpy as np
from astropy.nddata import CCDData
from astropy.table import Table

from ..measures.background import sky_pixels
from ..measures.statistics import Bootstrap

__all__ = ['BRIGHT_SNR', 'UNCERTAINTY_BINS', 'FrameTask', 'Measures', 'bootstrap_of', 'thresholds_of']

#: Sources above this signal-to-noise ratio are called bright.
BRIGHT_SNR = 30

#: Bins of brightness of the pixels whose uncertainty is judged, in sigma of the sky: sky, its surroundings, sources.
UNCERTAINTY_BINS = (-np.inf, 1, 3, np.inf)


@dataclass
class FrameTask:
    """
    A frame, with all that is needed to judge its result.

    Parameters
    ----------
    frame, result : `~astropy.nddata.CCDData`
        Before and after.
    denoiser : callable
        To denoise frames with injected sources.
    noise : `~astropy_n2v.NoiseModel`
        The noise of the frame.
    options : dict
        Those of `~astropy_n2v.validation.validate`.
    psf : PSF or None
        The point-spread function; None if it is not known.
    truth : `~numpy.ndarray` or None
        Truth or reference on the grid of the frame.
    kind : {'truth', 'reference', None}
        Which of them it is.
    truth_std : `~numpy.ndarray` or None
        Noise of a reference, if it is known.
    catalog : `~astropy.table.Table` or None
        Positions of sources, x and y.
    seed : int
        Seed of all that is random.
    no_psf : str
        Why the point-spread function is not known.
    psf_origin : str
        Where the point-spread function is from.
    """

    frame: CCDData
    result: CCDData
    denoiser: object
    noise: object
    options: dict
    psf: object = None
    truth: np.ndarray | None = None
    kind: str | None = None
    truth_std: np.ndarray | None = None
    catalog: Table | None = None
    seed: int = 0
    no_psf: str = ''
    psf_origin: str = ''

    def __post_init__(self):
        self.mask = ~np.isfinite(self.frame.data) | ~np.isfinite(self.result.data)
        for image in (self.frame, self.result):
            if image.mask is not None:
                self.mask |= np.asarray(image.mask, dtype=bool)
        if self.truth is not None:
            self.mask |= ~np.isfinite(self.truth)
        # The least noisy image: what is sky is not to be chosen on the noise that is judged.
        self.guide = np.asarray(self.result.data if self.truth is None else self.truth, dtype=float)
        self.sky = sky_pixels(self.guide, mask=self.mask)
        self.sky_sigma = float(np.sqrt(np.median(self.noise.variance(np.median(self.guide[~self.mask])))))

    @property
    def common(self):
        """Return the keywords of measures that resample."""
        return vars(bootstrap_of(self.options, self.seed))


@dataclass
class Measures:
    """
    Measures of a frame.

    Parameters
    ----------
    tables : dict of `~astropy.table.Table`
        By name.
    reasons : dict of str
        Why tables could not be made, by their names.
    images : dict
        Cut-outs to show.
    """

    tables: dict = field(default_factory=dict)
    reasons: dict = field(default_factory=dict)
    images: dict = field(default_factory=dict)


def bootstrap_of(options, seed):
    """
    Read the settings of intervals from the options of a validation.

    Parameters
    ----------
    options : dict
        Options of `validate`.
    seed : int
        Seed of the resampling.

    Returns
    -------
    Bootstrap
        The settings.
    """
    return Bootstrap(options['confidence'], options['n_resamples'], seed)


def thresholds_of(image, thresholds):
    """
    List the thresholds at which detections on a map are counted.

    Parameters
    ----------
    image : str
        Name of the map.
    thresholds : sequence of float
        Those of the matched filter on the input.

    Returns
    -------
    tuple of float
        For other maps, whose noise has another height in their units, many more: else the best would be out of range.

    Examples
    --------
    >>> from astropy_n2v.validation.report.task import thresholds_of
    >>> thresholds_of('denoised', (2.0, 4.0))
    (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
    """
    if image == 'matched filter':
        return tuple(thresholds)
    # Single pixels of the input are noisier than the filter, never less noisy.
    low = min(thresholds) / (1 if image == 'raw' else 4)
    high = 4 * max(thresholds)
    octaves = int(np.ceil(2 * np.log2(high / low))) if len(thresholds) > 4 else int(np.ceil(np.log2(high / low)))
    grid = {float(f'{value:.3g}') for value in np.geomspace(low, high, octaves + 1)}
    return tuple(sorted(grid | {float(value) for value in thresholds}))
