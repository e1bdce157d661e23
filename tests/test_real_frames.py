# Licensed under a 3-clause BSD style license - see LICENSE
"""
Real frames: those without a fault pass without a warning, and the fault of the others is named.
"""

import warnings

import numpy as np
import pytest
from astropy.utils.exceptions import AstropyUserWarning

from astropy_n2v import denoise
from astropy_n2v.io import read_fits_images

# Photons over their exposure, drizzled and resampled noise, a colour mosaic, saturation and bleeding, NaN rows, a cube.
CLEAN = ['blast/GALEX_NUV.fits', 'blast/2MASS_J.fits', 'xdf_hst/xdf_hst_wfc3ir_60mas_f105w_sci.fits',
         'sfft_decam/DEC-OBS04a.mini.fits', 'panoptes/pole.fits', 'panoptes/rotation.fits',
         'legacypipe/testcase6/c4d_150110_053718_ooi_z_ls9.S4.fits', 'scarlet_cosmos/Cut_HST.fits',
         'astropy_ws/kelt-16-b-S001-R001-C084-r.fit.gz', 'drizzlepac_flc/sample_ipppssoot_flc.fits']
# The fault, and words that must not occur in the warning.
FAULTY = {'ccdproc/a8280271.fits': ('strips without light', 'innovations'),
          'astropy_ws/combined_dark_90.000.fit.gz': ('sky noise according to the uncertainty', 'innovations'),
          'hst_foc/foc.fits': ('regions of one constant value', 'structure was removed'),
          'nomtam_m13/m13.fits': ('as if it had been smoothed', 'structure was removed'),
          # Of resampling, another one in each part of the frame.
          'sfft_decam/DEC-OBS18b.mini.fits': ('the noise differs from place to place', 'structure'),
          'petrofit_a2744/abell_2744_dwarf_galaxy_f105w.fits.gz': ('the noise is correlated', 'smaller'),
          'sfft_decam/Stack-DEC-OBS04.fits': ('the gain of the header', 'innovations')}


@pytest.mark.parametrize('name', CLEAN)
def test_nothing_is_said_of_a_frame_without_fault(data_path, name):
    for ccd in read_fits_images(data_path / name):
        result = denoise(ccd)
        assert result.header['N2VAUDIT'] == 'ok'
        unknown = ~np.isfinite(result.uncertainty.array)
        assert not unknown.any() or result.mask[unknown].all()


@pytest.mark.parametrize('name', FAULTY)
def test_fault_of_a_frame_is_named(data_path, name):
    expected, wrong = FAULTY[name]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always', AstropyUserWarning)
        for ccd in read_fits_images(data_path / name):
            denoise(ccd)
    text = ' '.join(str(warning.message) for warning in caught)
    assert expected in text and wrong not in text


def test_dust_and_dead_pixels_are_kept(data_path):
    """Dark structure is as real as bright: lanes of M 51, of few pixels, are 20 sigma below what surrounds them."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', AstropyUserWarning)
        ccd, = read_fits_images(data_path / 'astropy_ws' / 'pix.fits.gz')
        result, parts = denoise(ccd, full_output=True)
    dark = parts.innovation < -6
    assert dark.sum() > 20
    excess = (np.asarray(result.data) - np.asarray(ccd.data, dtype=float)) / parts.noise_std
    assert np.abs(excess[dark]).max() < 1
