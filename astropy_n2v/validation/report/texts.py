# Licensed under a 3-clause BSD style license - see LICENSE
"""
What the tests of a validation ask and what their answers mean, in words.
"""

from .combine import FLUX_BINS

__all__ = []

#: Title, question, and what pass and fail mean.
TEXTS = {
    'container': (
        'Unit, WCS, mask and pixels kept', 'Does the result keep what the frame was?',
        'Unit, WCS and mask are those of the frame, and no pixel was lost.',
        'Something of the frame was lost, so that the result cannot simply take its place.'),
    'flux_bright': (
        'Flux of bright sources', f'Is the flux of sources above {FLUX_BINS[2]} sigma kept?',
        'Bright sources can be measured on the result.',
        'Photometry of bright sources on the result is biased: measure them on the input.'),
    'flux_moderate': (
        'Flux of moderately bright sources', f'Is the flux of sources of {FLUX_BINS[1]} to {FLUX_BINS[2]} sigma kept?',
        'Sources well above the noise can be measured on the result.',
        'Photometry of these sources on the result is biased: find them there, and measure them on the input at the '
        'positions found.'),
    'flux_faint': (
        'Flux of faint sources', f'Is the flux of sources of {FLUX_BINS[0]} to {FLUX_BINS[1]} sigma kept?',
        'On average even faint sources keep their flux.',
        'Faint sources do not keep their flux, as expected of a result that shrinks towards the background: find '
        'them on the result, and measure them on the input at the positions found.'),
    'growth': (
        'Curve of growth', 'Do bright sources keep their flux within apertures of all radii?',
        'Profiles are kept, so that aperture corrections hold.',
        'Profiles have changed: aperture corrections and PSF models of the input do not fit the result.'),
    'centroid': (
        'Positions', 'Are bright sources where they were?', 'Astrometry on the result is as on the input.',
        'Sources have moved: do not measure positions on the result.'),
    'fwhm': (
        'Width of stars', 'Do bright sources keep their width?', 'The point-spread function is kept.',
        'The point-spread function has changed: measure it, and shapes, on the input.'),
    'sky_offset': (
        'Level of the sky', 'Is the sky where it was?', 'The background is kept.',
        'The background has moved, which adds up over large apertures and low surface brightness.'),
    'residual_sources': (
        'Sources in what was removed', 'Is input minus result free of sources?', 'What was removed is not signal.',
        'A share of the signal is in what was removed, or was added: see the residual figure.'),
    'residual_variance': (
        'Size of what was removed', 'Is input minus result no larger than the noise, at any brightness?',
        'No more was removed than there was noise.',
        'More was changed than the noise explains: signal was removed or made up, or the noise is larger than stated.'),
    'residual_white': (
        'Correlation of what was removed', 'Is input minus result correlated as the noise of the input is?',
        'What was removed looks like noise.', 'What was removed has structure that noise has not.'),
    'uncertainty_sky': (
        'Uncertainty of the sky', 'Are errors of sky pixels as large as stated?',
        'The stated uncertainty of single sky pixels can be used.',
        'The stated uncertainty of sky pixels is wrong: errors are this many times as large.'),
    'uncertainty_sources': (
        'Uncertainty of sources', 'Are errors of pixels in sources as large as stated?',
        'The stated uncertainty of single pixels of sources can be used.',
        'The stated uncertainty of pixels of sources is wrong: errors are this many times as large.'),
    'noise_reduction': (
        'Gain', 'How many times nearer to the truth is the result than the input?',
        'The result is nearer to the truth.', 'There is no gain: the result is not nearer to the truth.'),
    'noise_worst': (
        'Gain at the worst brightness', 'Is the result at no brightness farther from the truth than the input?',
        'At no brightness is the result worse than the data.',
        'At some brightness the result is worse than the data: see the figure for which.'),
    'depth': (
        'Depth', 'With as few false detections, are sources found as faint as by the matched filter on the input?',
        'Detection on the result is as deep as the matched filter on the input, or deeper.',
        'Detection on the result is shallower than the matched filter on the input: detect on the input.'),
    'invented': (
        'Invented sources', 'Are there stars in the result that the input cannot have had?',
        'No source was made up that would stand out of the noise of the input.',
        'The result shows sources that are not in the input: do not trust single detections.'),
    'removed': (
        'Removed sources', 'Are there stars in the input that the result has lost?',
        'No source was lost that stands out of the noise of the input.',
        'Sources that stand out of the noise of the input are missing or weaker in the result.'),
}
