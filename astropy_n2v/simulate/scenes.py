# Licensed under a 3-clause BSD style license - see LICENSE
"""
Scenes with known truth: stars, galaxies, nebulosity and sky.

All sources are drawn on a finer grid, convolved there with the point-spread function and binned to pixels,
so that pixels integrate the light that falls on them.
"""

from dataclasses import dataclass, field

import numpy as np
from astropy.nddata import NDData
from astropy.table import Table

from .canvas import Canvas
from .nebulae import make_filaments, make_nebula
from .populations import add_cluster, add_galaxies, add_globular, add_luminous_stars, add_stars

__all__ = ['SCENE_KINDS', 'Scene', 'make_scene']


@dataclass
class Scene:
    """
    A noise-free scene and all parameters that are needed to observe it.

    Parameters
    ----------
    truth : `~numpy.ndarray`
        Expected number of electrons in each pixel, sky included, shape (ny, nx).
    sky : float
        The part of ``truth`` that is uniform sky, in electrons.
    readnoise : float
        Read noise in electrons.
    psf : `~numpy.ndarray`
        The point-spread function on the pixels of the scene, sum 1; at the centre of the
        frame if it varies.
    catalog : `~astropy.table.Table`
        Sources with columns ``kind`` ('star' or 'galaxy'), ``x``, ``y`` (pixels, 0 the
        centre of the first pixel) and ``flux`` (electrons).
    kind : str
        Kind of the scene.
    edge_psfs : tuple of `~numpy.ndarray`, optional
        The point-spread functions of the first and of the last column, if it varies; between
        them it varies linearly.

    Examples
    --------
    >>> from astropy_n2v.simulate import make_scene
    >>> scene = make_scene('survey', (64, 64), seed=1)
    >>> scene.truth.shape, scene.catalog.colnames[:2], scene.observe(seed=2).unit
    ((64, 64), ['kind', 'x'], Unit("electron"))
    """

    truth: np.ndarray
    sky: float
    readnoise: float
    psf: np.ndarray
    catalog: Table = field(repr=False)
    kind: str = 'custom'
    edge_psfs: tuple = field(default=None, repr=False)

    @property
    def noise(self):
        """The `~astropy_n2v.NoiseModel` that holds exactly for this scene, in electrons."""
        from ..noise import NoiseModel
        return NoiseModel(self.readnoise, gain=1.0)

    def psf_model(self):
        """
        Make a model of the point-spread function for PSF photometry.

        Returns
        -------
        `~photutils.psf.ImagePSF` or `~photutils.psf.GriddedPSFModel`
            The latter where it varies over the field.

        Examples
        --------
        >>> from astropy_n2v.simulate import make_scene
        >>> model = make_scene('survey', (32, 32), seed=1).psf_model()
        >>> float(model.flux.value)
        1.0
        """
        from photutils.psf import GriddedPSFModel, ImagePSF
        if self.edge_psfs is None:
            return ImagePSF(self.psf)
        height, width = self.truth.shape
        corners = [(x, y) for y in (0, height - 1) for x in (0, width - 1)]
        return GriddedPSFModel(NDData(np.array([*self.edge_psfs, *self.edge_psfs]),
                                      meta={'grid_xypos': corners, 'oversampling': 1}))

    def observe(self, seed=None, **kwargs):
        """
        Observe the scene once: see `~astropy_n2v.simulate.observe`.

        Parameters
        ----------
        seed : int or `~numpy.random.Generator`, optional
            Seed of the noise.
        **kwargs
            Further keywords of `~astropy_n2v.simulate.observe`.

        Returns
        -------
        `~astropy.nddata.CCDData`
            The noisy frame.
        """
        from .detector import observe
        return observe(self.truth, readnoise=self.readnoise, seed=seed, **kwargs)


#: The fixed kinds of `make_scene` and their contents.
SCENE_KINDS = {
    'survey': 'galaxies and stars as in a deep extragalactic survey: sky 200 electrons, read noise 5',
    'crowded': 'a dense star field: sky 150 electrons, read noise 5',
    'nebula': 'nebulosity with a power-law spectrum, and stars: sky 100 electrons, read noise 5',
    'low_counts': 'a survey field with 2 electrons of sky and read noise 3',
    'sky_limited': 'faint galaxies and stars on 5000 electrons of sky, read noise 5',
    'cluster': 'a cluster of galaxies with its halo, and a field: sky 300 electrons, read noise 4',
    'globular': 'a globular cluster: sky 80 electrons, read noise 5',
    'filaments': 'bright filaments in nebulosity, and stars: sky 50 electrons, read noise 4',
    'undersampled': 'a survey field from orbit, FWHM 1.2 pixels with diffraction spikes: sky 40 electrons, read '
                    'noise 3',
    'varying': 'a star field whose point-spread function varies from side to side: sky 150 electrons, read noise 5',
}

# Sky and read noise in electrons, width of the point-spread function in pixels.
_SETTINGS = {'survey': (200, 5, 3.2), 'crowded': (150, 5, 3.0), 'nebula': (100, 5, 2.8), 'low_counts': (2, 3, 3.0),
             'sky_limited': (5000, 5, 3.5), 'cluster': (300, 4, 3.0), 'globular': (80, 5, 2.6),
             'filaments': (50, 4, 2.8), 'undersampled': (40, 3, 1.2), 'varying': (150, 5, 3.0)}

# Kinds that published figures are based on: they must stay reproducible.
_SETTLED = ('survey', 'crowded', 'nebula', 'low_counts', 'sky_limited')


def make_scene(kind='survey', shape=(512, 512), *, seed=None):
    """
    Make a scene of one of the kinds in `SCENE_KINDS`.

    Parameters
    ----------
    kind : str, optional
        'survey', 'crowded', 'nebula', 'low_counts', 'sky_limited', 'cluster', 'globular',
        'filaments', 'undersampled' or 'varying'.
    shape : tuple of int, optional
        Height and width in pixels.
    seed : int or `~numpy.random.Generator`, optional
        Seed of positions, fluxes and shapes.

    Returns
    -------
    Scene
        Truth in electrons, catalogue and point-spread function.

    Raises
    ------
    ValueError
        If ``kind`` is unknown.

    See Also
    --------
    random_scene : Draw a scene from the whole range.

    Examples
    --------
    >>> from astropy_n2v.simulate import make_scene
    >>> scene = make_scene('survey', (64, 64), seed=1)
    >>> scene.truth.shape
    (64, 64)
    >>> ccd = scene.observe(seed=2)
    >>> ccd.unit
    Unit("electron")
    """
    if kind not in SCENE_KINDS:
        raise ValueError(f'kind must be one of {", ".join(map(repr, SCENE_KINDS))}, got {kind!r}')
    rng = np.random.default_rng(seed)
    sky, readnoise, fwhm = _SETTINGS[kind]
    sigma = np.sqrt(sky + readnoise ** 2)
    canvas = Canvas(shape, fwhm)
    psfs = [{'fwhm': fwhm, 'kind': 'moffat', 'beta': 3.0, 'ellipticity': 0.05, 'theta': 0.6}]
    if kind == 'crowded':
        add_stars(canvas, rng, 0.02, 2 * sigma, 5000 * sigma, 0.7)
    elif kind in ('nebula', 'filaments'):
        add_stars(canvas, rng, 0.001, 5 * sigma, 5000 * sigma, 0.6)
    elif kind == 'globular':
        add_globular(canvas, rng, 0.1 * np.prod(shape), sigma, 0.3 * sigma, 5000 * sigma, 0.75)
        add_luminous_stars(canvas, rng, 0.003, 0.3 * sigma, 1e4 * sigma, 0.6, reference=3 * sigma)
    elif kind == 'varying':
        add_luminous_stars(canvas, rng, 0.008, 0.3 * sigma, 1e4 * sigma, 0.65, reference=3 * sigma)
        psfs = [{**psfs[0], 'fwhm': 2.7, 'ellipticity': 0.02}, {**psfs[0], 'fwhm': 3.3, 'ellipticity': 0.2}]
    elif kind in ('cluster', 'undersampled'):
        if kind == 'cluster':
            add_cluster(canvas, rng, sigma, richness=6e-4 * np.prod(shape), r_core=0.12 * min(shape))
        else:
            psfs = [{'fwhm': fwhm, 'kind': 'pupil', 'spikes': 4, 'spike_angle': 0.5}]
        add_luminous_stars(canvas, rng, 0.0012, 0.3 * sigma, 1e4 * sigma, 0.55, reference=3 * sigma)
        add_galaxies(canvas, rng, 0.0015, 3 * sigma, 3000 * sigma, 0.9, 2.0, sigma, reference=10 * sigma)
    else:
        add_stars(canvas, rng, 0.0012, 3 * sigma, 1e4 * sigma, 0.55)
        add_galaxies(canvas, rng, 0.0015, 10 * sigma, 5000 * sigma, 0.9, 2.2)
    image, stamps = canvas.render(psfs=psfs, fast=kind not in _SETTLED)
    if kind == 'nebula':
        image = image + make_nebula(shape, amplitude=10 * sigma, seed=rng)
    elif kind == 'filaments':
        image = image + make_nebula(shape, amplitude=3 * sigma, seed=rng)
        image = image + make_filaments(shape, amplitude=60 * sigma, width=3.0, seed=rng)
    return Scene(image + sky, float(sky), float(readnoise), sum(stamps) / len(stamps), canvas.catalog(), kind,
                 tuple(stamps) if len(stamps) > 1 else None)
