# Licensed under a 3-clause BSD style license - see LICENSE
"""
Denoising of FITS files.
"""

from ..containers.cards import write_cards
from ..io.process import own_cards, process_fits
from ..io.raster import is_raster

__all__ = ['denoise_fits']

# Extensions for what denoise(..., full_output=True) adds, whether they have the unit of the data, and what they are.
_EXTRAS = {
    'blind_mean': ('BLIND', True, 'Mean of each pixel given its surroundings alone'),
    'blind_std': ('SPREAD', True, 'Standard deviation of each pixel given its surroundings alone'),
    'innovation': ('INNOVATION', False, 'Data minus BLIND in units of the deviation to be expected'),
    'outlier': ('OUTLIER', False, 'Probability that the pixel could not be foreseen'),
    'noise_std': ('NOISE', True, 'Standard deviation of the noise that was assumed'),
}


def denoise_fits(path, output, model=None, *, gain=None, readnoise=None, satlevel=None, full_output=False,
                 add_keyword=True, ext=None, ignore_bits=0, mask=None, uncertainty=None, overwrite=False, protect=(),
                 **kwargs):
    """
    Denoise the science images of a FITS file; everything else in it stays as it was.

    Parameters
    ----------
    path, output : str or path-like
        What to denoise, and where to write the result. A picture (JPEG, PNG, TIFF) is denoised by
        `~astropy_n2v.batch.denoise_raster`.
    model : str, path or Denoiser, optional
        See `astropy_n2v.denoise`.
    gain, readnoise, satlevel : optional
        See `astropy_n2v.denoise`. Lists or tuples have one entry for each image.
    full_output : bool, optional
        Whether to append BLIND and SPREAD (mean and deviation of each pixel given its
        surroundings alone), INNOVATION, OUTLIER and NOISE extensions as well; see
        `~astropy_n2v.denoiser.Prediction`.
    add_keyword : bool, optional
        Whether to write to the headers how the result was made.
    ext, ignore_bits, mask, uncertainty, overwrite, protect : optional
        See `process_fits`.
    **kwargs
        Other keywords of `astropy_n2v.denoise`, for all images.

    Returns
    -------
    FitsResult
        What was done.

    Raises
    ------
    OSError, ValueError
        As `process_fits` and `astropy_n2v.denoise`.

    See Also
    --------
    process_fits : What happens to the file.

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
                                 mask=mask, uncertainty=uncertainty, **kwargs)
        return denoise_raster(path, output, model, overwrite=overwrite, protect=protect, **options)
    cards = []

    def function(ccd, **own):
        from ..denoising import denoise
        result = denoise(ccd, model, add_keyword=True, full_output=full_output, **kwargs, **own)
        result, prediction = result if full_output else (result, None)
        cards.append(own_cards(result.meta))
        if not add_keyword:
            result.meta = ccd.meta.copy()
            write_cards(result.meta, None, None)
        return result, {name: (getattr(prediction, field), *described)
                        for field, (name, *described) in _EXTRAS.items() if full_output}

    done = process_fits(path, output, function, ext=ext, ignore_bits=ignore_bits, mask=mask, uncertainty=uncertainty,
                        overwrite=overwrite, protect=protect, provenance=add_keyword,
                        per_image={'gain': gain, 'readnoise': readnoise, 'satlevel': satlevel})
    # Also of results that were not to say how they were made.
    found = iter(cards)
    return done._replace(images=[image if image.error else image._replace(cards=next(found)) for image in done.images])
