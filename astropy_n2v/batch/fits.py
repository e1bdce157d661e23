# Licensed under a 3-clause BSD style license - see LICENSE
"""
Denoising of FITS files.
"""

import numpy as np
from astropy.io import fits

from ..containers.cards import write_cards
from ..inference.prediction import PLANES
from ..io.process import own_cards, process_fits
from ..io.raster import is_raster
from ..utils.scratch import blockwise
from .cosmic_rays import mask_cosmic_rays

__all__ = ['denoise_fits']

_FLAGS_COMMENT = 'Bits: 1 did not count, 2 outlier, 4 cosmic ray that was masked'
_SURE = 0.5   # probability from which a pixel is flagged as an outlier


def denoise_fits(path, output, model=None, *, gain=None, readnoise=None, satlevel=None, full_output=False,
                 add_keyword=True, ext=None, ignore_bits=0, mask=None, uncertainty=None, overwrite=False, protect=(),
                 complete=None, cosmic_rays=False, flag_outliers=False, replace_uncertainty=False, quantize=None,
                 **kwargs):
    """
    Denoise the science images of a FITS file; everything else in it stays as it was.

    Parameters
    ----------
    path, output : str or path-like
        The file to denoise, and the file to write. A picture (JPEG, PNG, TIFF) is denoised by
        `~astropy_n2v.batch.denoise_raster`.
    model : str, path or Denoiser, optional
        See `astropy_n2v.denoise`.
    gain, readnoise, satlevel : optional
        See `astropy_n2v.denoise`. Lists or tuples have one entry for each image.
    full_output : bool, optional
        If true, append BLIND and SPREAD (mean and deviation of each pixel given its
        surroundings alone), INNOVATION, OUTLIER and NOISE extensions as well; see
        `~astropy_n2v.denoiser.Prediction`.
    add_keyword : bool, optional
        If true, write to the headers how the result was made.
    ext, ignore_bits, mask, uncertainty, overwrite, protect, complete : optional
        See `~astropy_n2v.io.process_fits`.
    cosmic_rays : bool, optional
        If true, mask cosmic rays first; see `~astropy_n2v.batch.mask_cosmic_rays`. They come out as they went in,
        unless ``fill_masked`` is true.
    flag_outliers : bool, optional
        If true, append N2VDQ, whose bits are 1: the pixel did not count; 2: it is an outlier, a cosmic ray or hot
        pixel that its surroundings do not explain (with a probability above one half); 4: it was masked by
        ``cosmic_rays``.
    replace_uncertainty, quantize : optional
        See `~astropy_n2v.io.process_fits`.
    **kwargs
        Other keywords of `astropy_n2v.denoise`, for all images.

    Returns
    -------
    FitsResult
        The outcome of each image.

    Raises
    ------
    OSError, ValueError
        As `~astropy_n2v.io.process_fits` and `astropy_n2v.denoise`.

    See Also
    --------
    astropy_n2v.io.process_fits : Replace the science images of a file.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from astropy_n2v.batch import denoise_fits
    >>> from astropy_n2v.simulate import make_scene
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path, output = Path(directory) / 'a.fits', Path(directory) / 'b.fits'
    ...     make_scene('survey', (64, 64), seed=1).observe(seed=2).write(path)
    ...     denoise_fits(path, output).denoised
    ['0 (PRIMARY,1)']
    """
    if is_raster(path):
        from .raster import denoise_raster, raster_options
        options = raster_options(gain=gain, readnoise=readnoise, satlevel=satlevel, full_output=full_output, ext=ext,
                                 mask=mask, uncertainty=uncertainty, cosmic_rays=cosmic_rays, quantize=quantize,
                                 flag_outliers=flag_outliers, replace_uncertainty=replace_uncertainty, **kwargs)
        return denoise_raster(path, output, model, overwrite=overwrite, protect=protect, complete=complete, **options)
    cards = []

    def function(ccd, **own):
        from ..denoising import denoise
        before, n_masked = mask_cosmic_rays(ccd) if cosmic_rays else (ccd, 0)
        more = full_output or flag_outliers
        result = denoise(before, model, add_keyword=True, full_output=more, **kwargs, **own)
        result, prediction = result if more else (result, None)
        if cosmic_rays and isinstance(result.meta, fits.Header):
            result.meta['N2VNCR'] = (n_masked, 'pixels masked as cosmic rays before')
        cards.append(own_cards(result.meta))
        if not add_keyword:
            result.meta = ccd.meta.copy()
            write_cards(result.meta, None, None)
        planes = prediction.planes if full_output else {}
        extras = {PLANES[name].extension: (values, PLANES[name].kind.has_unit, PLANES[name].text)
                  for name, values in planes.items() if PLANES[name].extension}
        if flag_outliers:
            extras['N2VDQ'] = _flags(ccd, before, result, prediction), False, _FLAGS_COMMENT
        return result, extras

    def with_cards(result):
        """Add the cards, also to results that do not say how they were made."""
        found = iter(cards)
        return result._replace(images=[image if image.error else image._replace(cards=next(found))
                                       for image in result.images])

    finish = None if complete is None else lambda temporary, result: complete(temporary, with_cards(result))
    done = process_fits(path, output, function, ext=ext, ignore_bits=ignore_bits, mask=mask, uncertainty=uncertainty,
                        overwrite=overwrite, protect=protect, provenance=add_keyword, complete=finish,
                        replace_uncertainty=replace_uncertainty, quantize=quantize,
                        per_image={'gain': gain, 'readnoise': readnoise, 'satlevel': satlevel})
    return with_cards(done)


def _flags(ccd, masked, result, prediction):
    """Make the plane of bits of ``flag_outliers``."""
    def where(array):
        return np.broadcast_to(False if array is None else array, ccd.shape)

    def bits(bad, outlier, after, before):
        return bad * np.uint8(1) | (outlier > _SURE) * np.uint8(2) | (after & ~before) * np.uint8(4)

    before = where(ccd.mask)
    return blockwise(bits, where(result.mask), prediction.outlier, before if masked is ccd else where(masked.mask),
                     before, dtype=np.uint8)
