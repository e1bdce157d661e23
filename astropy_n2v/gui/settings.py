# Licensed under a 3-clause BSD style license - see LICENSE
"""
The parameters of a page, and the command line and the lines of Python that do the same.
"""

import shlex
from dataclasses import asdict, dataclass

__all__ = ['Settings']


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
        """Keywords of `~astropy_n2v.batch.denoise_fits` that differ from the defaults."""
        default = asdict(type(self)())
        return {name: value for name, value in asdict(self).items() if value != default[name]}

    def command(self, path, folder, index):
        """Command line that writes the same file to a folder."""
        words = ['astropy-n2v', 'denoise', str(path), '-o', str(folder), '--ext', str(index), '--full-output']
        for name, value in self.options().items():
            words += [f'--{name.replace("_", "-")}', *([] if value is True else [str(value)])]
        return shlex.join(words)

    def snippet(self, path, output, index):
        """Write lines of Python that make the same file."""
        options = ''.join(f', {name}={value!r}' for name, value in self.options().items())
        return ('from astropy_n2v.batch import denoise_fits\n\n'
                f'denoise_fits({str(path)!r}, {str(output)!r}, ext={index}, full_output=True{options})')
