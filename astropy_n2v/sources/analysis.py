# Licensed under a 3-clause BSD style license - see LICENSE
"""
The analysis of frames and their results in one call: a report, pictures side by side, and counts of sources.
"""

import os
import warnings
from pathlib import Path

import numpy as np
from astropy.table import Table, vstack

from ..io import split_extension
from ..utils.atomic_files import atomic_write
from .catalogues import read_pairs
from .detecting import compare_detections

__all__ = ['analyze_files']


def analyze_files(files, output_dir, *, denoised=None, truth=None, suffix='_n2v', ext=None, ignore_bits=0, mask=None,
                  psf=None, false_rate=0.05, seed=0, overwrite=False, progress_bar=False, **options):
    """
    Compare frames with their denoised images, and write a report of it.

    Parameters
    ----------
    files : list of path
        FITS files as measured.
    output_dir : str or path-like
        Directory for the report; it is made if it does not exist.
    denoised : str or path-like, optional
        Directory with results of `~astropy_n2v.batch.denoise_fits`; files without one there are denoised.
    truth : path or list of path, optional
        The noise-free image of all files, or of each.
    suffix, ext, ignore_bits, mask : optional
        As for `~astropy_n2v.sources.read_pairs`; ``name.fits[EXT]`` chooses an extension, too.
    psf : float, array_like, model or PSF, optional
        Point-spread function, as for `astropy_n2v.detect`.
    false_rate : float, optional
        Expected share of false sources at which those before and after are counted.
    seed : int, optional
        Seed of all that is random.
    overwrite : bool, optional
        If true, replace an earlier report.
    progress_bar : bool, optional
        If true, show progress.
    **options
        Other keywords of `astropy_n2v.validation.validate`, which makes the report.

    Returns
    -------
    `~astropy_n2v.validation.Report`
        As of `~astropy_n2v.validation.validate`, with the table ``detections`` (see
        `~astropy_n2v.sources.compare_detections`). ``report.html`` and ``report.json`` are written, with tables and
        figures, and for each image a picture, ``NAME.png``: input, result, residual in units of the noise, uncertainty
        and truth.

    Raises
    ------
    FileExistsError
        If there is a report and ``overwrite`` is false.
    OSError, ValueError
        If a file cannot be read, or no frame can be analyzed.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from astropy_n2v.simulate import make_scene
    >>> from astropy_n2v.sources import analyze_files
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = Path(directory) / 'a.fits'
    ...     make_scene('survey', (96, 96), seed=1).observe(seed=2).write(path)
    ...     report = analyze_files([path], Path(directory) / 'analysis', psf=3.2)
    ...     (Path(directory) / 'analysis' / 'a.png').exists()
    True
    """
    from ..validation import validate
    output_dir = Path(output_dir)
    if not overwrite and (output_dir / 'report.json').exists():
        raise FileExistsError(f'{output_dir / "report.json"} exists: use overwrite (--overwrite) to replace it')
    truths = list(truth) if isinstance(truth, (list, tuple)) else [truth] * len(files)
    if len(truths) != len(files):
        raise ValueError(f'truth must be one file, or one for each of the {len(files)} files, got {len(truths)}')
    pairs = _Pairs()
    for file, known in zip(files, truths):
        pairs.read(file, denoised, known, suffix=suffix, ext=ext, ignore_bits=ignore_bits, mask=mask)
    report = validate(pairs.frames, pairs.result, names=pairs.names, denoiser_name='astropy_n2v', psf=psf, seed=seed,
                      truth=None if truth is None else pairs.truths, progress_bar=progress_bar, **options)
    report.tables['detections'] = pairs.count(psf, false_rate, seed)
    report.write(output_dir, overwrite=overwrite)
    pairs.draw(output_dir, overwrite)
    return report


class _Pairs:
    """Frames and their results, each denoised when it is first needed."""

    def __init__(self):
        self.frames, self.names, self.truths, self._results = [], [], [], []

    def read(self, file, denoised, truth, *, ext, **options):
        """Read the images of a file."""
        from ..io import read_fits_images
        path, own = split_extension(file)
        found = read_pairs(path, denoised, ext=ext if own is None else own, **options)
        truths = [None] * len(found) if truth is None else read_fits_images(truth)
        # A file without a unit has the one of the frame.
        truths = [known if known is None or 'BUNIT' in known.header else known.data for known in truths]
        if len(truths) not in (1, len(found)):
            raise ValueError(f'truth must have one image, or as many as {os.fspath(file)}, {len(found)}, got '
                             f'{len(truths)}')
        name = Path(os.fspath(path)).name.split('.')[0]
        for n, (frame, result) in enumerate(found):
            self.frames.append(frame)
            self._results.append(result)
            self.truths.append(truths[min(n, len(truths) - 1)])
            self.names.append(name if len(found) == 1 else f'{name}_{n + 1}')

    def result(self, frame):
        """Return the result of a frame or of a copy of it; denoise other frames."""
        from ..denoising import denoise
        for n, known in enumerate(self.frames):
            same = known.data is frame.data or np.array_equal(known.data, frame.data, equal_nan=True)
            if known.shape == frame.shape and same:
                if self._results[n] is None:
                    self._results[n] = denoise(known)
                return self._results[n]
        return denoise(frame)

    def count(self, psf, false_rate, seed):
        """Count the sources before and after in all frames; frames that cannot be searched have none."""
        tables = []
        for name, frame in zip(self.names, self.frames):
            with warnings.catch_warnings():
                warnings.simplefilter('ignore')   # they came with the report
                try:
                    table = compare_detections(frame, self.result(frame), false_rate=false_rate, psf=psf, seed=seed)
                except ValueError:
                    continue
            table.add_column(np.full(len(table), name), name='frame', index=0)
            tables.append(table)
        columns = ('frame', 'image', 'n', 'n_false', 'threshold')
        return vstack(tables) if tables else Table(names=columns, dtype=('U1', 'U6', int, float, float))

    def draw(self, directory, overwrite):
        """Write a picture of each frame."""
        from ..visualization import plot_denoised
        for name, frame, truth in zip(self.names, self.frames, self.truths):
            try:
                figure = plot_denoised(frame, self.result(frame), truth)
            except ValueError:   # that the report has said
                continue
            with atomic_write(directory / f'{name}.png', overwrite=overwrite) as temporary:
                figure.savefig(temporary, dpi=110)
