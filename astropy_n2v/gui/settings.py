# Licensed under a 3-clause BSD style license - see LICENSE
"""
The parameters of a page, and the command line and the lines of Python that do the same.
"""

import shlex
from dataclasses import asdict, dataclass
from pathlib import PurePath

from ..io.raster import is_raster

__all__ = ['Settings', 'judging_command', 'judging_snippet']


@dataclass(frozen=True)
class Settings:
    """
    How a frame is denoised; those that are None are as found, see `astropy_n2v.denoise`.

    Parameters
    ----------
    model : str, optional
        'default', 'self', 'adapt' or a file.
    strength : float, optional
        From 0 (the data) to 1 (the posterior mean).
    gain, readnoise, satlevel : float, optional
        In electrons per data unit, electrons and data units.
    reject_outliers, fill_masked : bool, optional
        If true, replace single-pixel outliers and masked pixels.

    Examples
    --------
    >>> from astropy_n2v.gui.settings import Settings
    >>> settings = Settings(gain=1.9)
    >>> settings.options()
    {'gain': 1.9}
    >>> settings.command('m 51.fits', 'out', 1)
    "astropy-n2v denoise 'm 51.fits' -o out --ext 1 --full-output --gain 1.9"
    """

    model: str = 'default'
    strength: float = 1.0
    gain: float = None
    readnoise: float = None
    satlevel: float = None
    reject_outliers: bool = False
    fill_masked: bool = False

    def options(self):
        """Collect the keywords of `~astropy_n2v.batch.denoise_fits` that differ from the defaults."""
        default = asdict(type(self)())
        return {name: value for name, value in asdict(self).items() if value != default[name]}

    def command(self, path, folder, index, overwrite=False):
        """Write the command line that makes the same file in a folder."""
        words = ['astropy-n2v', 'denoise', str(path), '-o', str(folder)]
        words += [] if is_raster(path) else ['--ext', str(index), '--full-output']
        for name, value in self.options().items():
            words += [f'--{name.replace("_", "-")}', *([] if value is True else [str(value)])]
        return shlex.join([*words, *(['--overwrite'] if overwrite else [])])

    def snippet(self, path, output, index, overwrite=False):
        """Write lines of Python that make the same file."""
        options = {} if is_raster(path) else {'ext': index, 'full_output': True}
        options |= {**self.options(), **({'overwrite': True} if overwrite else {})}
        words = ''.join(f', {name}={value!r}' for name, value in options.items())
        return ('from astropy_n2v.batch import denoise_fits\n\n'
                f'denoise_fits({str(path)!r}, {str(output)!r}{words})')


def judging_command(path, folder, index, false_rate, truth=None):
    """Write the command lines that find the sources of a file and its result in a folder, and analyze them."""
    name = PurePath(path).name.split('.')[0]
    words = [str(path), '--denoised', str(folder), '--ext', str(index), '--false-rate', f'{false_rate:g}', '-o']
    target = PurePath(folder)
    truth = ['--truth', str(truth)] if truth else []
    return (shlex.join(['astropy-n2v', 'detect', *words, str(target / f'{name}.ecsv')]) + '\n'
            + shlex.join(['astropy-n2v', 'analyze', *words, str(target / f'{name}_analysis'), *truth]))


def judging_snippet(path, folder, index, false_rate, truth=None):
    """Write the lines of Python that do what `judging_command` does."""
    name = PurePath(path).name.split('.')[0]
    target = PurePath(folder)
    options = f'denoised={str(folder)!r}, ext={index}, false_rate={false_rate:g}'
    truth = f', truth={str(truth)!r}' if truth else ''
    return ('from astropy_n2v.sources import analyze_files, detect_file\n\n'
            f'sources = detect_file({str(path)!r}, {options})\n'
            f'analyze_files([{str(path)!r}], {str(target / f"{name}_analysis")!r}, {options}{truth})')
