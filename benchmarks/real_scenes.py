# Licensed under a 3-clause BSD style license - see LICENSE
"""
Real images as truth, noise added: ``python benchmarks/real_scenes.py``.

No simulator made what these images show, and no PSF, galaxy or nebula in them is of a kind that the weights were
trained on by design. Each is scaled so that its own noise is a thirtieth of the noise that is added: of photons and
read-out, on a bright and on a dark sky. The own noise is left in the truth; it limits the noise reduction to 30.

Writes ``results/real_scenes.csv``. Needs the environment variable ASTROPY_N2V_TEST_DATA.
"""

import numpy as np
from astropy.io import fits
from common import Frame, Recorder, parse, real_images
from quality import compare
from scipy.ndimage import gaussian_filter

from astropy_n2v.simulate import Scene, make_psf
from astropy_n2v.validation import robust_scatter

__all__ = ['IMAGES', 'main', 'make_scene', 'observe']

#: What is shown, and the file.
IMAGES = {
    'XDF, F105W': 'xdf_hst/xdf_hst_wfc3ir_60mas_f105w_sci.fits',
    'XDF, F160W': 'xdf_hst/xdf_hst_wfc3ir_60mas_f160w_sci.fits',
    'cluster A2744': 'petrofit_a2744/abell_2744_cd_galaxy_f105w.fits.gz',
    'spiral galaxy': 'petrofit_a2744/abell_2744_spiral_galaxy_f105w.fits.gz',
    'COSMOS, ACS': 'scarlet_cosmos/Cut_HST.fits',
    'M51, plate': 'astropy_ws/pix.fits.gz',
    'ESO 085-030': 'properimage/aligned_eso085-030-004.fit',
    'SDSS r': 'blast/SDSS_r.fits',
    'WISE nebula': 'astropy_ws/w5.fits',
    'WISE W1': 'blast/WISE_W1.fits',
}
#: Sky and read noise in electrons.
NOISE = {'bright sky': (400.0, 5.0), 'low counts': (2.0, 3.0)}
METHODS = 'ours', 'median 3', 'wavelet bior4.4', 'starlet 3', 'nl-means 0.6', 'tv 1', 'bm3d'
_OWN, _LAG = 1 / 30, 5


def make_scene(image, sky, readnoise, *, own=_OWN):
    """
    Make a scene whose truth is an image, in electrons.

    Parameters
    ----------
    image : `~numpy.ndarray`
        The image, finite.
    sky, readnoise : float
        Electrons of its faintest parts, and of the read-out.
    own : float, optional
        Noise of the image over that which will be added.

    Returns
    -------
    `~astropy_n2v.simulate.Scene`
        The scene.
    """
    image = np.asarray(image, dtype=float)
    # Second differences in the faintest half, over more pixels than share their noise.
    middle = image[:, _LAG:-_LAG]
    faint = gaussian_filter(image, _LAG)[:, _LAG:-_LAG]
    second = (image[:, :-2 * _LAG] - 2 * middle + image[:, 2 * _LAG:])[faint <= np.median(faint)]
    noise = robust_scatter(second) / np.sqrt(6)
    # Nebulosity fills some frames: their sky is not the median.
    level = np.percentile(image, 20)
    truth = np.maximum(sky + (image - level) * own * np.sqrt(sky + readnoise ** 2) / noise, 0)
    return Scene(truth, sky, readnoise, make_psf(2.5), None, 'real')


def observe(path, noise, size=512):
    """Observe the central part of an image in a file with the noise of a sky."""
    with fits.open(path) as hdus:
        image = next(hdu.data for hdu in hdus if hdu.data is not None and hdu.data.ndim == 2).astype(float)
    y, x = (max(0, n - size) // 2 for n in image.shape)
    scene = make_scene(image[y:y + size, x:x + size], *NOISE[noise])
    frame = Frame(scene.observe(seed=1), scene.noise, scene.psf, scene)
    frame.truth_std = _OWN * frame.sky_sigma
    return frame


def main(argv=None):
    arguments = parse(__doc__, argv, size=512, methods=METHODS, choices={'images': IMAGES})
    folder = real_images()
    compare((({'image': name, 'noise': noise}, observe(folder / IMAGES[name], noise, arguments.size))
             for name in arguments.images for noise in NOISE), arguments.methods, Recorder('real_scenes'))


if __name__ == '__main__':
    main()
