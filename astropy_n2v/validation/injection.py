# Licensed under a 3-clause BSD style license - see LICENSE
"""
Artificial stars and galaxies in real frames.
"""

__all__ = ['draw_sources', 'inject_realisations', 'inject_sources', 'injection_positions', 'render_sources']


def injection_positions(shape, n, *, spacing, mask=None, avoid=None, avoid_radius=None, border=0, seed=None):
    """``n`` sub-pixel positions on a jittered grid -> Table ``x``, ``y`` (pix). ValueError if they do not fit."""
    raise NotImplementedError


def draw_sources(positions, magnitudes, *, zeropoint=0.0, galaxies=0.0, r_eff=(1.0, 5.0), unit=None, seed=None):
    """
    Draw fluxes and shapes -> Table ``id``, ``kind`` ('star', 'galaxy'), ``x``, ``y``, ``mag``, ``flux``, ``r_eff``,
    ``sersic_n``, ``ellipticity``, ``theta``. magnitudes: (bright, faint); galaxies: fraction.
    """
    raise NotImplementedError


def render_sources(sources, shape, psf):
    """The noise-free image of sources -> ndarray."""
    raise NotImplementedError


def inject_sources(ccd, sources, psf, *, gain=None, noise=None, seed=None):
    """Add sources with their Poisson noise to a frame (before denoising) -> CCDData, uncertainty grown to match."""
    raise NotImplementedError


def inject_realisations(ccd, psf, *, n_realisations=10, n_sources=200, magnitudes, zeropoint=0.0, galaxies=0.0,
                        gain=None, noise=None, spacing=None, avoid=None, mask=None, seed=None):
    """Generator of (CCDData, Table): one realisation at a time, each reproducible by the seed and its number."""
    raise NotImplementedError
