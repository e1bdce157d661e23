# Licensed under a 3-clause BSD style license - see LICENSE
"""
Remarks of a report besides its verdicts: about the frames, and advice.
"""

import numpy as np
from astropy.table import Table

from ...noise import GainFrom
from ..measures.tables import values_of

__all__ = []

# Pixels this many sigma darker than the result are not noise; a larger share of them than this makes a note.
_DARK, _MANY = 5.0, 1e-3


def describe_frame(task):
    """Describe a frame in a row: size, noise, PSF, dark pixels that the result lacks, and the audit."""
    result = np.where(task.mask, 0, np.asarray(task.result.data, dtype=float))
    change = np.where(task.mask, 0, result - np.asarray(task.frame.data, dtype=float))
    dark = change > _DARK * np.sqrt(task.noise.variance(result))
    row = {'ny': task.frame.shape[0], 'nx': task.frame.shape[1], 'sky_sigma': task.sky_sigma,
           'fwhm': np.nan if task.psf is None else task.psf.fwhm, 'psf_origin': task.psf_origin,
            'noise_source': str(task.noise.source or ''),
           'gain_known': task.noise.origin.gain is not GainFrom.IMAGE,
           'masked': float(task.mask.mean()), 'dark': float(dark.sum() / max((~task.mask).sum(), 1)),
           'audit': str(task.result.meta.get('N2VAUDIT', '')),
           'dark_level': float(change[dark & task.sky].sum() / (task.sky_sigma * max(task.sky.sum(), 1)))}
    return Table({name: [value] for name, value in row.items()})


def count_injected(tables):
    """Count the injected sources."""
    if 'injected' not in tables:
        return 0
    images = values_of(tables['injected'], 'image')
    return int(np.sum(images == images[0]))


def describe_sources(tables):
    """Describe the sources that are measured at their positions; empty without any."""
    if 'sources' not in tables or not len(tables['sources']):
        return ''
    origins = dict.fromkeys(values_of(tables['sources'], 'origin').tolist()) if 'origin' in tables[
        'sources'].colnames else ()
    return f'{len(tables["sources"])} sources' + (f' of {" or ".join(origins)}' if origins else '')


def describe_psf(tables):
    """Describe the point-spread functions of the frames; empty if none is known."""
    if 'frames' not in tables:
        return ''
    fwhm = values_of(tables['frames'], 'fwhm')
    origins = dict.fromkeys(values_of(tables['frames'], 'psf_origin')[np.isfinite(fwhm)].tolist())
    if not origins:
        return ''
    low, high = (f'{end:.1f}' for end in (np.nanmin(fwhm), np.nanmax(fwhm)))
    width = low if low == high else f'{low} to {high}'
    return f'PSF of FWHM {width} pixels, {" or ".join(list(origins)[:3])}'


def write_headline(tables):
    """Write the gain at each brightness in a sentence; empty if it is not known."""
    if 'gain' not in tables:
        return ''
    names = 'on the sky (pixels below 1 sigma)', 'on faint pixels (1 to 10 sigma)', 'on bright ones (above 10 sigma)'
    gains = values_of(tables['gain'], 'noise_reduction')
    parts = [f'{gain:.3g} {name}' for gain, name in zip(gains, names) if np.isfinite(gain)]
    return f'Errors are smaller by factors of {", ".join(parts)}.' if parts else ''


def write_notes(tables):
    """Write notes on data that make tests wrong."""
    notes = []
    if 'frames' in tables and not values_of(tables['frames'], 'gain_known').all():
        notes.append('The photon noise of sources is not known where a frame states no gain: tests of bright pixels '
                     'may fail for that alone. Give noise, gain or an uncertainty.')
    if 'frames' in tables:
        dark, level = (np.max(values_of(tables['frames'], name)) for name in ('dark', 'dark_level'))
        if dark > _MANY:
            notes.append(f'Up to {100 * dark:.2g} % of the pixels of a frame are more than {_DARK:g} sigma darker than '
                         'the result: defects that it does not follow, or a result that is too bright there. They '
                         f'alone raise the level of the sky by up to {level:.2g} sigma, and may count as invented '
                         'sources. Mask them to judge the rest.')
    return notes


def write_advice(tables):
    """Write advice, with numbers, on measurements on the results."""
    advice = []
    if 'aperture_noise' in tables and 'factor' in tables['aperture_noise'].colnames:
        table = tables['aperture_noise']
        for size in 5, 9:
            rows = np.flatnonzero(values_of(table, 'size') == size)
            if not rows.size:
                continue
            factor = float(values_of(table, 'factor')[rows[0]])
            quoted = float(values_of(table, 'factor_quoted')[rows[0]])
            text = (f'Sums over {size}x{size} pixels of the sky of the result scatter {factor:.1f} times as much as '
                    'sums of independent pixels of this scatter would')
            if np.isfinite(quoted):
                text += f': multiply an error from the summed variances that the result states by {quoted:.1f}'
            advice.append(text + '.')
    if 'depth' in tables:
        told = False
        for row in tables['depth']:
            if np.isfinite(row['m50']):
                gain, image = float(row['gain']), str(row['image'])
                than = '' if image == 'matched filter' else (
                    f', {abs(gain):.2f} mag {"fainter" if gain >= 0 else "brighter"} than by the matched filter')
                unit, told = ('' if told else ' (-2.5 log10 of the flux in data units)'), True
                advice.append(f'Detection on the map "{image}" finds half of the injected sources at '
                              f'{float(row["m50"]):.2f} mag{unit}{than}; its threshold is then '
                              f'{float(row["threshold"]):.3g}.')
    return advice


def option_text(value):
    """Convert an option to what JSON can hold."""
    return value if isinstance(value, (int, float, str, type(None))) else (
        list(value) if isinstance(value, tuple) else getattr(value, '__name__', str(value)))
