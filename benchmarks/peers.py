# Licensed under a 3-clause BSD style license - see LICENSE
"""
The peers: what else an astronomer can run. Noise and point-spread function are known to them.

Where a method has a free parameter, each of a few values stated here beforehand is a method of its
own, so that a comparison with the best of all gives them an advantage which no observer has.
Methods for Gaussian noise of one width get the frame after the generalised Anscombe transform,
whose exact unbiased inverse is taken of the result.
"""

import json
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from unittest.mock import patch

import numpy as np
from astropy.utils.exceptions import AstropyUserWarning
from common import measured
from scipy.ndimage import convolve1d, gaussian_filter, median_filter
from scipy.signal import fftconvolve
from scipy.special import gammaln

from astropy_n2v.photometry import psf_fwhm

__all__ = ['CORRELATED', 'METHODS', 'TRAINED', 'Anscombe', 'denoise_ours', 'run_method', 'starlet', 'train_careamics']


class Anscombe:
    """
    Generalised Anscombe transform with its exact unbiased inverse.

    Makes noise of variance ``sigma**2 + (x - zero_point) / gain`` nearly Gaussian of variance 1
    (Starck, Murtagh & Bijaoui 1998). The inverse maps the *expected value* of the transformed
    data back to x (Makitalo & Foi 2013, IEEE TIP 22, 91), here from the expectation itself at low
    counts and its closed-form approximation above.

    Parameters
    ----------
    noise : `~astropy_n2v.NoiseModel`
        The noise; without a gain the transform is a mere scaling.
    """

    _EXACT = 200   # electrons up to which the expectation is summed up

    def __init__(self, noise):
        self.gain = None if noise.gain is None else float(noise.gain)
        self.zero = float(noise.zero_point)
        self.sigma = float(noise.sigma)
        if self.gain is not None:
            self.readnoise = self.sigma * self.gain
            self._tabulate()

    def _root(self, electrons):
        return 2 * np.sqrt(np.maximum(electrons + 3 / 8 + self.readnoise ** 2, 0))

    def _tabulate(self):
        node, weight = np.polynomial.hermite_e.hermegauss(61)
        counts = np.arange(2 * self._EXACT + 60)
        expected = self._root(counts[:, None] + self.readnoise * node) @ weight / weight.sum()
        electrons = np.concatenate([np.linspace(0, 1, 101)[:-1] ** 2, np.linspace(1, self._EXACT, 2000)])
        with np.errstate(divide='ignore', invalid='ignore'):
            log = counts * np.log(electrons[:, None]) - electrons[:, None] - gammaln(counts + 1)
        probability = np.where(electrons[:, None] > 0, np.exp(log), counts == 0)
        self._table = probability @ expected, electrons

    def forward(self, data):
        """Transform."""
        if self.gain is None:
            return np.asarray(data, dtype=float) / self.sigma
        return self._root((np.asarray(data, dtype=float) - self.zero) * self.gain)

    def backward(self, values):
        """The exact unbiased inverse."""
        if self.gain is None:
            return values * self.sigma
        transformed, electrons = self._table
        root = np.maximum(values, 1.0)
        closed = (root ** 2 / 4 + np.sqrt(1.5) / 4 / root - 11 / 8 / root ** 2 + 5 / 8 * np.sqrt(1.5) / root ** 3
                  - 1 / 8 - self.readnoise ** 2)
        result = np.where(values < transformed[-1], np.interp(values, transformed, electrons), closed)
        return result / self.gain + self.zero


def starlet(image, k, n_scales=5, n_iterations=8):
    """
    Denoise by hard thresholding of the isotropic undecimated wavelet transform (starlet).

    Starck, Fadili & Murtagh 2007, IEEE TIP 16, 297: B3-spline smoothing with holes; coefficients below
    ``k`` times their noise are dropped, the coarsest smoothing is kept. The residual is put through the
    same support again (Murtagh, Starck & Bijaoui 1995, A&AS 112, 179), until nothing significant is left in it.

    Parameters
    ----------
    image : `~numpy.ndarray`
        Image with white noise of standard deviation 1.
    k : float
        Threshold in units of the noise of each scale; one more at the finest.
    n_scales : int, optional
        Number of scales.
    n_iterations : int, optional
        Number of passes over the residual.

    Returns
    -------
    `~numpy.ndarray`
        The denoised image.
    """
    spline = np.array([1, 4, 6, 4, 1]) / 16

    def smooth(values, scale):
        kernel = np.zeros(4 * 2 ** scale + 1)
        kernel[::2 ** scale] = spline
        return convolve1d(convolve1d(values, kernel, axis=0, mode='reflect'), kernel, axis=1, mode='reflect')

    def decompose(values):
        details = []
        for scale in range(n_scales):
            smoother = smooth(values, scale)
            details.append(values - smoother)
            values = smoother
        return details, values

    impulse = np.zeros((size := 8 * 2 ** n_scales + 1, size))
    impulse[size // 2, size // 2] = 1
    sigma = [np.sqrt((detail ** 2).sum()) for detail in decompose(impulse)[0]]
    support = [np.abs(detail) > (k + (scale == 0)) * sigma[scale]
               for scale, detail in enumerate(decompose(image)[0])]
    result = np.zeros(image.shape)
    for _ in range(n_iterations):
        details, rest = decompose(image - result)
        result += sum(detail * chosen for detail, chosen in zip(details, support)) + rest
    return result


def _wavelet(image, wavelet):
    from skimage.restoration import cycle_spin, denoise_wavelet
    options = {'sigma': 1.0, 'method': 'BayesShrink', 'mode': 'soft', 'wavelet': wavelet, 'rescale_sigma': False}
    return cycle_spin(image, denoise_wavelet, max_shifts=3, func_kw=options, workers=1)


def _nonlocal_means(image, strength):
    from skimage.restoration import denoise_nl_means
    return denoise_nl_means(image, patch_size=5, patch_distance=7, h=strength, sigma=1.0, fast_mode=True)


def _total_variation(image, weight):
    from skimage.restoration import denoise_tv_chambolle
    return denoise_tv_chambolle(image, weight=weight, eps=1e-6, max_num_iter=200)


def _bm3d(image):
    from bm3d import bm3d
    return bm3d(image, sigma_psd=1.0)


def _bm3d_of_spectrum(frame):
    """BM3D for correlated noise (Makinen, Azzari & Foi 2020, IEEE TIP 29, 8339), of which it is told the spectrum."""
    from bm3d import bm3d
    transform = Anscombe(frame.noise)
    # It calls numpy by a name that numpy 2.4 no longer has.
    with patch.object(np, 'trapz', np.trapezoid, create=True):
        return transform.backward(bm3d(transform.forward(frame.data), sigma_psd=frame.power * frame.power.size))


def _stabilised(function):
    """Let a method for white noise of variance 1 work on a frame."""
    def run(frame, *parameter):
        transform = Anscombe(frame.noise)
        return transform.backward(function(transform.forward(frame.data), *parameter))
    return run


def _gaussian(frame, factor):
    return gaussian_filter(frame.data, factor * psf_fwhm(frame.psf) / 2.3548)


def _matched(frame):
    pad = frame.psf.shape[0] // 2
    padded = np.pad(frame.data, pad, mode='reflect')
    return fftconvolve(padded, frame.psf[::-1, ::-1] / frame.psf.sum(), mode='same')[pad:-pad, pad:-pad]


def denoise_ours(frame, **kwargs):
    """Our default model as `astropy_n2v.denoise` applies it, with the noise that the peers are told."""
    from astropy_n2v import denoise
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', AstropyUserWarning)
        result = denoise(frame.ccd, noise=frame.noise, **kwargs)
    return np.asarray(result.data, dtype=float), np.asarray(result.uncertainty.array, dtype=float)


def train_careamics(image, algorithm, **options):
    """
    Train CAREamics on an image and apply it, in the environment that ``careamics-requirements.txt`` describes.

    The environment variable CAREAMICS_PYTHON names its Python.

    Parameters
    ----------
    image : `~numpy.ndarray`
        The image, shape (ny, nx).
    algorithm : {'n2v', 'n2v2'}
        How to train.
    **options
        Keywords of its ``create_advanced_n2v_config``, which JSON can represent.

    Returns
    -------
    `~numpy.ndarray`
        The result, float64.
    """
    python = os.environ.get('CAREAMICS_PYTHON')
    if not python:
        raise RuntimeError('CAREAMICS_PYTHON must name the Python of an environment with '
                           'benchmarks/careamics-requirements.txt')
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, 'noisy.npy'), Path(folder, 'clean.npy')
        np.save(source, image.astype(np.float32))
        done = subprocess.run([python, str(Path(__file__).with_name('careamics_peer.py')), algorithm, str(source),
                               str(target), json.dumps(options)], cwd=folder, capture_output=True, text=True)
        if done.returncode:
            sys.stderr.write(done.stderr)
            raise RuntimeError(f'CAREamics failed with status {done.returncode}')
        return np.load(target).astype(float)


def careamics(frame, algorithm):
    """Train CAREamics on the frame after the generalised Anscombe transform, and apply it."""
    transform = Anscombe(frame.noise)
    return transform.backward(train_careamics(transform.forward(frame.data), algorithm))


def _wavelet_of(name):
    return _stabilised(lambda image: _wavelet(image, name))


#: Method name: function that makes a `Frame` an image, or an image and its uncertainty.
METHODS = {
    'ours': denoise_ours,
    'median 3': lambda frame: median_filter(frame.data, 3),
    'median 5': lambda frame: median_filter(frame.data, 5),
    'gaussian 0.5': lambda frame: _gaussian(frame, 0.5),
    'gaussian 1': lambda frame: _gaussian(frame, 1.0),
    'psf filter': _matched,
    'wavelet db2': _wavelet_of('db2'),
    'wavelet sym4': _wavelet_of('sym4'),
    'wavelet bior4.4': _wavelet_of('bior4.4'),
    'starlet 3': _stabilised(lambda image: starlet(image, 3.0)),
    'starlet 4': _stabilised(lambda image: starlet(image, 4.0)),
    'nl-means 0.6': _stabilised(lambda image: _nonlocal_means(image, 0.6)),
    'nl-means 0.9': _stabilised(lambda image: _nonlocal_means(image, 0.9)),
    'tv 0.7': _stabilised(lambda image: _total_variation(image, 0.7)),
    'tv 1': _stabilised(lambda image: _total_variation(image, 1.0)),
    'bm3d': _stabilised(_bm3d),
    'ours, hole of 1': lambda frame: denoise_ours(frame, hole=(1, 1)),
    'bm3d, known spectrum': _bm3d_of_spectrum,
    'ours, adapt': lambda frame: denoise_ours(frame, model='adapt'),
    'ours, self': lambda frame: denoise_ours(frame, model='self'),
    'n2v': lambda frame: careamics(frame, 'n2v'),
    'n2v2': lambda frame: careamics(frame, 'n2v2'),
}
#: Methods that are trained on each frame, minutes each: measured only when asked for.
TRAINED = 'ours, adapt', 'ours, self', 'n2v', 'n2v2'
#: Methods that are of interest where noise is correlated.
CORRELATED = 'ours, hole of 1', 'bm3d, known spectrum'


def run_method(name, frame):
    """
    Apply a method to a frame.

    Parameters
    ----------
    name : str
        One of `METHODS`.
    frame : Frame
        The frame.

    Returns
    -------
    dict
        ``image``, ``std`` (None for those who state none), ``seconds`` and ``memory`` (MiB).
    """
    output, seconds, memory = measured(METHODS[name], frame)
    image, std = output if isinstance(output, tuple) else (output, None)
    if name in ('n2v', 'n2v2'):   # in a process of its own
        memory = np.nan
    return {'image': image, 'std': std, 'seconds': seconds, 'memory': memory}
