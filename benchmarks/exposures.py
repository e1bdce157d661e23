# Licensed under a 3-clause BSD style license - see LICENSE
"""
Real repeated exposures, each judged by the others: ``python benchmarks/exposures.py``.

The error of an exposure is the mean of (exposure - A)(exposure - B) over pixels, with A and B the means of two
disjoint halves of the other exposures: their noise is independent, so that this is the exposure's own mean square
error, without knowledge of the noise of the references. Pixels are chosen on the smoothed mean of the others: chosen
on single pixels, the errors of A and B would be tied to each other. Every method gets the same estimate of the noise.
Half a per cent of the pixels of M 13 are misread, too dark by 5 to 10 sigma, each time others; they are kept unless
``reject_outliers`` is given, which is measured for all series.
Those of ARCSAT are reduced with bias, dark and flat of their night.

Faint stars are averaged as well: cut-outs of results, at places that half of the other exposures give, beside those of
the other half. A method that makes rings of stars shows it there.

Writes ``results/exposures.csv`` and ``results/exposures_stars.csv``. Needs the environment variable
ASTROPY_N2V_TEST_DATA. With ``--methods`` or ``--fields`` other rows stay as they are; a comparison with a method that
is not measured along is left empty.
"""

import warnings
from dataclasses import dataclass

import ccdproc
import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData
from astropy.utils.exceptions import AstropyUserWarning
from common import Frame, parse, real_images, say, stored_rows, write_table
from peers import run_method
from scipy.ndimage import gaussian_filter, maximum_filter, shift, zoom

from astropy_n2v import denoise, estimate_noise
from astropy_n2v.validation import robust_scatter

__all__ = ['FIELDS', 'METHODS', 'Series', 'align', 'block_products', 'cut_outs', 'faint_stars', 'interval', 'main',
           'make_rows', 'match_level', 'mean_interval', 'measure', 'measure_exposure', 'profile', 'read_arcsat',
           'read_decam', 'read_m13']

_BLOCK = 32   # pixels: what is drawn in the bootstrap
# How far (dy, dx) the stars of each exposure are from the first: from the peak of the cross-correlation of stars.
_M13_DRIFT = (0, 0), (0.41, -11.57), (2.99, -24.48), (3.39, -34.47), (3.55, -46.45)
# Number of the exposure and drift. The first one has the trail of a satellite.
_ARCSAT_DRIFT = {2: (-0.33, 1.03), 3: (-0.75, 1.33), 4: (-0.81, 0.32), 5: (-1.04, 0.20), 6: (-1.82, 1.23),
                 7: (-2.35, 3.22), 8: (-1.87, 3.75), 9: (-2.40, 3.23), 10: (-2.84, 2.69), 11: (2.65, -1.04),
                 12: (1.75, -0.36), 13: (0.99, 0.29), 14: (1.12, 0.99), 15: (1.37, 0.48), 16: (1.03, 0.80),
                 17: (0.94, 1.14), 18: (0.44, 2.40)}
#: Edges of the bins of the smoothed signal, in sigma of the exposure.
_EDGES = 1, 3, 10, 30, np.inf
_HALF = 7   # pixels: half the size of a cut-out of a star
_FEWEST = 200   # pixels of a bin in all exposures of a series: fewer are a few stars
_MEAN = 'mean of all'
METHODS = 'ours', 'ours, as read', 'ours, hole of 1', 'ours, reject_outliers', 'bm3d'


@dataclass
class Series:
    """
    Exposures of one field.

    Parameters
    ----------
    name : str
        Name of the field.
    exposures : list of tuple
        Name, frame, and where its stars are from those of the first, (dy, dx) in pixels.
    margin : int, optional
        Pixels at the edges that not every exposure shows, which do not count.
    in_turn : bool, optional
        Whether the two halves of the references take exposures in turn. Where all share the noise of a dark and a
        flat, those of early and late exposures are farther apart on the detector.
    gradient : bool, optional
        Whether the sky has a gradient, above which signals are measured.
    """

    name: str
    exposures: list
    margin: int = 0
    in_turn: bool = True
    gradient: bool = False

    @property
    def cut(self):
        """The part that counts."""
        return (slice(self.margin, -self.margin or None),) * 2

    def above_sky(self, image):
        """An image without its sky."""
        return image - (_smooth_median(image, 128) if self.gradient else np.median(image))

    def halves(self, others):
        """Two halves of a list of the other exposures."""
        if self.in_turn:
            return others[::2], others[1::2]
        return others[:len(others) // 2], others[len(others) // 2:]


def read_decam(folder, field):
    """Five aligned exposures of a DECam field: name, frame, and where its stars are, (dy, dx)."""
    paths = [folder / 'sfft_decam' / f'DEC-OBS{field}{letter}.mini.fits' for letter in 'abcde']
    return [(path.name[:10], CCDData.read(path, unit='adu'), (0, 0)) for path in paths]


def read_m13(folder, size=640):
    """Five exposures of M 13, whose stars drift over the detector: name, central part, and where its stars are."""
    exposures = []
    for i, drift in enumerate(_M13_DRIFT):
        name = f'M13_blue_000{i + 1}'
        data = fits.getdata(folder / 'm13_blue' / f'{name}.fits').astype(np.float32)
        y, x = (n // 2 - size // 2 for n in data.shape)
        exposures.append((name, CCDData(data[y:y + size, x:x + size], unit='adu'), drift))
    return exposures


def read_arcsat(folder, size=768, numbers=tuple(_ARCSAT_DRIFT)):
    """Exposures of ARCSAT, reduced with its bias, dark and flat: name, central part, and where its stars are."""
    def read(kind, numbers):
        for number in numbers:
            data = fits.getdata(folder / 'arcsat' / f'{kind}_{number:02d}.fits.gz')
            y, x = ((n - size) // 2 for n in data.shape)
            yield CCDData(data[y:y + size, x:x + size].astype(float), unit='adu')

    def mean(frames, **kwargs):
        return ccdproc.combine(list(frames), method='average', **kwargs)

    bias = mean(read('bias', range(1, 6)))
    dark = mean(ccdproc.subtract_bias(frame, bias) for frame in read('dark', range(1, 6)))
    times = {'dark_exposure': 30 * u.s, 'data_exposure': 30 * u.s}

    def subtract(frame):
        return ccdproc.subtract_dark(ccdproc.subtract_bias(frame, bias), dark, **times)

    flat = mean(map(subtract, read('flat_g', range(1, 4))), scale=lambda data: 1 / np.median(data))
    exposures = []
    for number, frame in zip(numbers, read('light_g', numbers)):
        light = ccdproc.flat_correct(subtract(frame), flat)
        # The scatter of so few masters is no uncertainty of the frame.
        light.uncertainty = None
        exposures.append((f'arcsat_{number:02d}', light, _ARCSAT_DRIFT[number]))
    return exposures


def align(data, drift):
    """Move an image to where the stars of another are; only references are ever resampled."""
    return data if not any(drift) else shift(data, drift, order=3, mode='nearest')


def _smooth_median(image, box):
    """Medians of boxes, interpolated."""
    rows, columns = (max(1, n // box) for n in image.shape)
    medians = np.array([[np.median(part) for part in np.array_split(row, columns, axis=1)]
                        for row in np.array_split(image, rows, axis=0)])
    return zoom(medians, (image.shape[0] / rows, image.shape[1] / columns), order=min(1, min(medians.shape) - 1),
                mode='nearest', grid_mode=True)


def match_level(image, reference, box=64):
    """
    The smooth difference between an image and a reference, and their ratio of scale.

    Sky glow and transparency differ between exposures, which is no error of a denoiser.

    Parameters
    ----------
    image, reference : `~numpy.ndarray`
        Aligned images.
    box : int, optional
        Size in pixels of the boxes whose medians are interpolated.

    Returns
    -------
    scale : float
        By which to multiply the reference.
    offset : `~numpy.ndarray`
        To be added to it then.
    """
    second = gaussian_filter(reference - _smooth_median(reference, box), 1.5)
    # Well above the noise, which would make the ratio too small, and not saturated.
    noise = 1.4826 * np.median(np.abs(second))
    bright = (second > 10 * noise) & (second < max(np.percentile(second, 99.8), 20 * noise))
    scale = 1.0
    # Crowding shifts medians by as much as it is bright, so that one depends on the other.
    for _ in range(4 if bright.sum() > 50 else 0):
        rest = gaussian_filter(image - scale * reference - _smooth_median(image - scale * reference, box), 1.5)
        scale += float(np.sum(rest[bright] * second[bright]) / np.sum(second[bright] ** 2))
    return scale, _smooth_median(image - scale * reference, box)


def block_products(image, first, second, select):
    """Sum of (image - first)(image - second) over the selected pixels of each block, and their number."""
    product = np.where(select, (image - first) * (image - second), 0)
    starts = [np.arange(0, n, _BLOCK) for n in image.shape]

    def blocks(values):
        return np.add.reduceat(np.add.reduceat(values, starts[0], axis=0), starts[1], axis=1).ravel()

    return blocks(product), blocks(select.astype(float))


def _shares(before, after, n, seed):
    """The share of one mean square error in another: of all blocks, then of n draws of them."""
    before, after = np.asarray(before), np.asarray(after)
    draws = np.random.default_rng(seed).integers(0, len(before), (n, len(before)))
    with np.errstate(divide='ignore', invalid='ignore'):
        return np.append(after.sum() / before.sum(), after[draws].sum(axis=1) / before[draws].sum(axis=1))


def mean_interval(series, n=1000):
    """
    How many times smaller mean square errors are than others, and the interval of 95 %, from sums over blocks.

    Parameters
    ----------
    series : list of tuple of array_like
        For each series of exposures the sums over its blocks, before and after. The geometric mean is taken.
    n : int, optional
        Number of draws.

    Returns
    -------
    ratio, low, high : float
        Infinite where the error after may be zero.
    """
    shares = [np.maximum(_shares(before, after, n, seed), 0.0) for seed, (before, after) in enumerate(series, start=1)]
    with np.errstate(divide='ignore', invalid='ignore'):
        share = np.prod(np.power(shares, 1 / len(shares)), axis=0)
        return tuple(1 / np.array([share[0], *np.nanpercentile(share[1:], [97.5, 2.5])]))


def interval(before, after):
    """The ratio of two mean square errors of one series and its interval, see `mean_interval`."""
    return mean_interval([(before, after)])


def faint_stars(image, other, sigma, spread=1.0):
    """
    Find stars with a peak of 1 to 5 sigma of an exposure that are alone in their cut-out.

    Parameters
    ----------
    image : `~numpy.ndarray`
        Mean of exposures without sky, in which they are found.
    other : `~numpy.ndarray`
        That of others, in which they have to be there: at least half of the lowest peak, which noise hardly hides,
        but which leaves out hot pixels, where exposures are displaced.
    sigma : float
        Noise of a single exposure.
    spread : float, optional
        Width in pixels of the Gaussian that both images are smoothed by.

    Returns
    -------
    `~numpy.ndarray`
        Row and column of each, shape (n, 2).
    """
    smooth = gaussian_filter(image, spread)
    noise = robust_scatter(smooth)
    inner = np.zeros(image.shape, dtype=bool)
    inner[_HALF:-_HALF, _HALF:-_HALF] = True
    alone = (smooth == maximum_filter(smooth, 2 * _HALF + 1)) & inner
    there = gaussian_filter(other, spread) > 0.5 * sigma
    return np.argwhere(alone & there & (smooth > max(5 * noise, sigma)) & (smooth < 5 * sigma))


def cut_outs(image, places):
    """Squares of 15x15 pixels around places, above the median of their edges, shape (n, 15, 15)."""
    offsets = np.arange(-_HALF, _HALF + 1)
    y, x = places[:, 0, None, None], places[:, 1, None, None]
    stars = image[y + offsets[:, None], x + offsets]
    edges = np.concatenate([stars[:, (0, -1), :], stars[:, :, (0, -1)].swapaxes(1, 2)], axis=1)
    return stars - np.median(edges, axis=(1, 2))[:, None, None]


def profile(stars, n=1000):
    """
    The middle of averaged cut-outs of stars.

    Parameters
    ----------
    stars : `~numpy.ndarray`
        Cut-outs, shape (n_stars, ny, nx).
    n : int, optional
        Number of draws of the bootstrap over stars.

    Returns
    -------
    dict
        ``centre``; the mean of its four ``neighbours`` and that of its four ``diagonals`` over it, with their
        standard errors; ``ring``, 'yes' where centre > neighbours > diagonals holds in less than 2.5 % of the draws.
    """
    middle = stars[:, _HALF - 1:_HALF + 2, _HALF - 1:_HALF + 2].reshape(-1, 9)
    parts = np.column_stack([middle[:, 4], middle[:, 1::2].mean(axis=1), middle[:, [0, 2, 6, 8]].mean(axis=1)])
    centre, neighbours, diagonals = parts.mean(axis=0)
    draws = parts[np.random.default_rng(1).integers(0, len(parts), (n, len(parts)))].mean(axis=1)
    errors = np.std(draws[:, 1:] / draws[:, :1], axis=0)
    falling = np.mean((draws[:, 0] > draws[:, 1]) & (draws[:, 1] > draws[:, 2]))
    return {'centre': centre, 'neighbours': neighbours / centre, 'neighbours_error': errors[0],
            'diagonals': diagonals / centre, 'diagonals_error': errors[1], 'ring': 'yes' if falling < 0.025 else ''}


def _clean(name, ccd, noise):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', AstropyUserWarning)
        if name == 'ours, as read':
            return np.asarray(denoise(ccd).data, dtype=float)
        if name == 'ours, reject_outliers':
            return np.asarray(denoise(ccd, noise=noise, reject_outliers=True).data, dtype=float)
        return run_method(name, Frame(ccd, noise, None))['image']


def _bins(smooth, sigma):
    """Pixels by the smoothed signal of the references."""
    bins = {'sky': np.abs(smooth) < 0.5 * sigma, 'faint sources': (smooth > sigma) & (smooth < 10 * sigma)}
    for low, high in zip(_EDGES[:-1], _EDGES[1:]):
        name = f'{low}-{high} sigma' if np.isfinite(high) else f'above {low} sigma'
        bins[name] = (smooth > low * sigma) & (smooth <= high * sigma)
    return bins


def _references(series, i):
    """The other exposures, aligned with the i-th and of its level."""
    _, ccd, drift = series.exposures[i]
    data = np.asarray(ccd.data, dtype=float)[series.cut]
    others = []
    for j, (_, other, place) in enumerate(series.exposures):
        if j != i:
            other = align(np.asarray(other.data, dtype=float), np.subtract(drift, place))[series.cut]
            scale, offset = match_level(data, other)
            others.append(scale * other + offset)
    return others


def measure(series, methods):
    """
    Denoise the exposures of a series, each alone, and compare them with the others.

    Parameters
    ----------
    series : Series
        The exposures.
    methods : sequence of str
        Methods, to which 'noisy' is added.

    Returns
    -------
    sums : dict
        By method and kind of pixel: sums over blocks of all exposures, see `block_products`.
    stars : dict
        By method, and of the 'reference': cut-outs of faint stars, in sigma of the exposure.
    """
    sums, stars = {}, {}
    for i in range(len(series.exposures)):
        for collected, found in zip((sums, stars), measure_exposure(series, i, methods)):
            for key, values in found.items():
                collected.setdefault(key, []).append(values)
    return ({key: tuple(map(np.concatenate, zip(*parts))) for key, parts in sums.items()},
            {key: np.concatenate(parts) for key, parts in stars.items()})


def measure_exposure(series, i, methods, clean=None):
    """
    Denoise an exposure of a series, and compare it with the others.

    Parameters
    ----------
    series : Series
        The exposures.
    i : int
        Number of the exposure.
    methods : sequence of str
        Methods, to which 'noisy' is added.
    clean : callable, optional
        Function of a method, an exposure and its noise that returns the result; by default those of `METHODS`.

    Returns
    -------
    sums, stars : dict
        As of `measure`, of this exposure.
    """
    ccd = series.exposures[i][1]
    data = np.asarray(ccd.data, dtype=float)
    others = _references(series, i)
    first, second = (np.mean(half, axis=0) for half in series.halves(others))
    noise = estimate_noise(data)
    sigma = 1.4826 * np.median(np.abs(series.above_sky(data)))
    bins = _bins(gaussian_filter(series.above_sky(np.mean(others, axis=0)), 2), sigma)
    flat = [half - _smooth_median(half, 64) for half in (first, second)]
    # Found on one half, they are judged by the other, in which noise has not been chosen for being bright.
    places = [faint_stars(flat[0], flat[1], sigma), faint_stars(flat[1], flat[0], sigma)]
    stars = {'reference': np.concatenate([cut_outs(half, found) / sigma
                                          for half, found in zip((second, first), places)])}
    sums = {}
    for method in ('noisy', *methods):
        image = (data if method == 'noisy' else (clean or _clean)(method, ccd, noise))[series.cut]
        stars[method] = cut_outs(image, np.concatenate(places)) / sigma
        for name, select in bins.items():
            sums[method, name] = block_products(image, first, second, select)
    return sums, stars


def _row(field, pixels, method, sums):
    """A row of the table: of one series, or of the mean of several."""
    def compare(other):
        # Much of the error is of the exposures and common to all methods, which are therefore drawn together.
        known = all((other, pixels) in part for part in sums)
        return mean_interval([(part[other, pixels][0], part[method, pixels][0]) for part in sums]) if known \
            else (np.nan,) * 3

    count = sum(part[method, pixels][1].sum() for part in sums)
    before, after = (sums[0][name, pixels][0].sum() / count if len(sums) == 1 else np.nan
                     for name in ('noisy', method))
    row = {'field': field, 'pixels': pixels, 'method': method, 'n_pixels': int(count), 'mse_before': before,
           'mse_after': after}
    for prefix, other in (('ratio', 'noisy'), ('than_bm3d', 'bm3d'), ('than_hole_1', 'ours, hole of 1')):
        ends = ('low', 'high') if prefix == 'ratio' else (f'{prefix}_low', f'{prefix}_high')
        row.update(zip((prefix, *ends), compare(other)))
    return {**row, 'worse': 'yes' if row['high'] < 1 else ''}


def make_rows(field, sums):
    """
    Make rows of the table, of all kinds of pixels and methods that every one of the series has.

    Parameters
    ----------
    field : str
        Name of the field, or of the mean.
    sums : list of dict
        What `measure` says of a series; of several the mean is taken.

    Returns
    -------
    list of dict
        The rows.
    """
    rows = []
    for method, pixels in sums[0]:
        if method != 'noisy' and all((method, pixels) in part for part in sums):
            enough = [part for part in sums if part[method, pixels][1].sum() >= _FEWEST]
            if enough:
                rows.append(_row(field, pixels, method, enough))
    return rows


def _draw(stars, path):
    """Save a figure of the averaged stars, a row of images for each field."""
    import matplotlib
    matplotlib.use('Agg')
    from matplotlib import pyplot as plt
    columns = max(map(len, stars.values()))
    figure, axes = plt.subplots(len(stars), columns, figsize=(2 * columns, 2.2 * len(stars)), squeeze=False)
    for axis in axes.flat:
        axis.axis('off')
    for row, (field, methods) in zip(axes, stars.items()):
        top = methods['reference'].mean(axis=0).max()
        for axis, (method, cuts) in zip(row, methods.items()):
            axis.imshow(cuts.mean(axis=0), origin='lower', vmin=-0.1 * top, vmax=top)
            axis.set_title(f'{field}\n{method}', fontsize=7)
    figure.savefig(path, bbox_inches='tight')
    plt.close(figure)


#: Functions that read a series from the folder of real images, by its name.
FIELDS = {
    'DECam 04': lambda folder: Series('DECam 04', read_decam(folder, '04')),
    'DECam 18': lambda folder: Series('DECam 18', read_decam(folder, '18')),
    'M 13': lambda folder: Series('M 13', read_m13(folder), margin=64),
    'ARCSAT': lambda folder: Series('ARCSAT', read_arcsat(folder), margin=16, in_turn=False, gradient=True),
}


def main(argv=None):
    arguments = parse(__doc__, argv, options={
        'fields': {'nargs': '+', 'choices': FIELDS, 'help': 'fields to measure; rows of others stay'},
        'png': {'help': 'file for a figure of the averaged faint stars'}})
    folder = real_images()
    fields = arguments.fields or list(FIELDS)
    rows, star_rows, sums, stars = [], [], [], {}
    for field in fields:
        measured, stars[field] = measure(FIELDS[field](folder), list(arguments.methods or METHODS))
        sums.append(measured)
        rows += make_rows(field, [measured])
        if len(sums) == len(FIELDS):
            rows += make_rows(_MEAN, sums)
        star_rows += [{'field': field, 'method': method, 'stars': len(cuts), **profile(cuts)}
                      for method, cuts in stars[field].items()]
        for name, new, keys in (('exposures', rows, ('field', 'pixels', 'method')),
                                ('exposures_stars', star_rows, ('field', 'method'))):
            partly = arguments.methods or arguments.fields
            write_table(stored_rows(name, new, keys) if partly else new, name,
                        'each exposure against two halves of the others')
        for row in rows + star_rows:
            if row['field'] in (field, _MEAN):
                say(row)
    if arguments.png:
        _draw(stars, arguments.png)


if __name__ == '__main__':
    main()
