# Licensed under a 3-clause BSD style license - see LICENSE
"""
Stretched colour pictures with known truth: ``python benchmarks/colour.py``.

A field of two kinds of colour is observed eight times in red, green and blue, averaged and stretched as amateurs do, by
asinh. The detector sees all colours in each pixel, or through a Bayer mosaic that is interpolated bilinearly; the
picture has 16 bits, or is a JPEG of quality 75, 90 or 95. Writes ``results/colour.csv``: rms errors of the picture
over those of the result, in each channel and in the two differences of the channels (chroma). The peers are told the
true noise of each picture; ours is told nothing, and is also given each channel as a grey picture of its own.
"""

import io
import warnings

import numpy as np
from common import parse, write_table
from scipy.ndimage import convolve

from astropy_n2v.batch import denoise_channels
from astropy_n2v.simulate import make_scene

__all__ = ['METHODS', 'PICTURES', 'interpolate_bayer', 'main', 'make_truth', 'observe', 'run']

#: Pictures by name: through a Bayer mosaic or not, and the quality of JPEG, None for 16 bits.
PICTURES = {'16 bits': (False, None), 'JPEG 95': (False, 95), 'JPEG 90': (False, 90), 'JPEG 75': (False, 75),
            'debayered, 16 bits': (True, None), 'debayered, JPEG 90': (True, 90)}
METHODS = 'ours', 'channel by channel', 'bm3d', 'nl-means', 'wavelet', 'tv', 'opencv'
_EXPOSURES = 8
# Parts of the light of two fields that the channels see.
_MIX = np.array([[0.9, 0.2], [0.6, 0.6], [0.3, 1.0]])
_CHROMA = np.array([[1, 0, -1], [0.5, -1, 0.5]]) / np.array([[2 ** 0.5], [1.5 ** 0.5]])


def make_truth(kind, seed, size):
    """Electrons in red, green and blue, shape (3, size, size), the sky, and the read noise."""
    first, second = (make_scene(kind, (size, size), seed=seed + n) for n in (0, 50))
    light = np.stack([first.truth - first.sky, second.truth - second.sky])
    return np.tensordot(_MIX, light, 1) + first.sky, first.sky, first.readnoise


def interpolate_bayer(mosaic):
    """Red, green and blue of a mosaic RGGB, interpolated bilinearly."""
    where = np.zeros((3, *mosaic.shape))
    where[0, ::2, ::2] = where[2, 1::2, 1::2] = where[1, ::2, 1::2] = where[1, 1::2, ::2] = 1
    corners = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]]) / 4
    kernels = corners, np.array([[0, 1, 0], [1, 4, 1], [0, 1, 0]]) / 4, corners
    return np.stack([convolve(mosaic * part, kernel, mode='mirror') for part, kernel in zip(where, kernels)])


def observe(truth, sky, readnoise, picture, seed):
    """Make a stretched picture, from 0 to 1, and its truth."""
    mosaic, quality = PICTURES[picture]
    rng = np.random.default_rng(seed)
    noisy = (rng.poisson(truth * _EXPOSURES) + rng.normal(0, readnoise * _EXPOSURES ** 0.5, truth.shape)) / _EXPOSURES
    if mosaic:
        plane = noisy[1].copy()
        plane[::2, ::2], plane[1::2, 1::2] = noisy[0, ::2, ::2], noisy[2, 1::2, 1::2]
        noisy = interpolate_bayer(plane)
    sigma = np.sqrt((sky + readnoise ** 2) / _EXPOSURES)

    def stretch(values):
        return np.clip(0.05 + 0.9 * np.arcsinh((values - sky) / (5 * sigma)) / np.arcsinh(120), 0, 1)

    if quality is None:
        return np.rint(stretch(noisy) * 65535) / 65535, stretch(truth)
    from PIL import Image
    file = io.BytesIO()
    Image.fromarray(np.moveaxis(np.rint(stretch(noisy) * 255).astype('u1'), 0, -1)).save(file, 'JPEG', quality=quality)
    return np.moveaxis(np.asarray(Image.open(file)), -1, 0) / 255, stretch(truth)


def run(method, picture, sigma):
    """Compute the result of a method for a picture of shape (3, ny, nx), whose noise is ``sigma``."""
    if method in ('ours', 'channel by channel'):
        parts = [picture] if method == 'ours' else picture[:, None]
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            return np.concatenate([denoise_channels(part)[0] for part in parts])
    image = np.moveaxis(picture, 0, -1)
    if method == 'bm3d':
        from bm3d import bm3d_rgb
        result = bm3d_rgb(image, sigma)
    elif method == 'opencv':
        import cv2
        strength = float(255 * sigma)
        result = cv2.fastNlMeansDenoisingColored(np.rint(image * 255).astype('u1'), None, strength, strength) / 255
    else:
        from skimage import restoration
        result = {'nl-means': lambda: restoration.denoise_nl_means(image, h=0.8 * sigma, sigma=sigma, fast_mode=True,
                                                                   patch_size=5, patch_distance=6, channel_axis=-1),
                  'wavelet': lambda: restoration.denoise_wavelet(image, sigma, channel_axis=-1, convert2ycbcr=True,
                                                                 rescale_sigma=True),
                  'tv': lambda: restoration.denoise_tv_chambolle(image, weight=sigma, channel_axis=-1)}[method]()
    return np.moveaxis(result, -1, 0)


def _errors(image, truth):
    """Measure the rms errors of red, green and blue, and of chroma."""
    error = image - truth
    return [*np.sqrt(np.mean(error ** 2, axis=(1, 2))), np.sqrt(np.mean(np.tensordot(_CHROMA, error, 1) ** 2))]


def main(argv=None):
    arguments = parse(__doc__, argv, n_seeds=2, size=256, kinds=('survey', 'nebula'))
    rows, left_out = [], set()
    for kind in arguments.kinds:
        for picture in PICTURES:
            ratios = {method: [] for method in arguments.methods or METHODS}
            for seed in arguments.seeds:
                truth, sky, readnoise = make_truth(kind, seed, arguments.size)
                image, known = observe(truth, sky, readnoise, picture, seed)
                before = _errors(image, known)
                for method in ratios.keys() - left_out:
                    try:
                        after = _errors(run(method, image, float(np.std(image - known))), known)
                    except ImportError as error:
                        print(f'{method} is left out: {error}', flush=True)
                        left_out.add(method)
                        continue
                    ratios[method].append(np.divide(before, after))
            for method, found in ratios.items():
                if found:
                    rows.append({'kind': kind, 'picture': picture, 'method': method,
                                 **dict(zip(('red', 'green', 'blue', 'chroma'), np.mean(found, axis=0)))})
                    print(*rows[-1].values(), flush=True)
            write_table(rows, 'colour', f'{arguments.size}x{arguments.size} pixels')


if __name__ == '__main__':
    main()
