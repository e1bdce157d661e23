# Licensed under a 3-clause BSD style license - see LICENSE
"""
Settings of the package: `astropy.config` items that users may change in their configuration file.
"""

from astropy.config import ConfigItem, ConfigNamespace

__all__ = ['Conf', 'conf']


class Conf(ConfigNamespace):
    """
    Settings of `astropy_n2v`.
    """

    default_model = ConfigItem('default', 'Model that denoise() uses if none is named: a name or a path.')
    device = ConfigItem('auto', "Device to compute on: 'auto', 'cpu', 'cuda' or 'cuda:N'.")
    precision = ConfigItem(
        ['auto', 'float32', 'bfloat16'],
        "Numbers in which the network predicts: 'bfloat16', which is faster on processors that have it, "
        "'float32', or 'auto': bfloat16 where the processor has it.")
    tile_size = ConfigItem(1632, 'Height and width in pixels of the tiles in which large images are processed.')
    memory_limit = ConfigItem(
        4.0, 'Memory in GiB that the denoising of an image may take. Larger images are read, denoised and written some '
        'rows at a time, with temporary files in place of arrays; the results are the same.')
    scratch_directory = ConfigItem(
        '', 'Directory of these temporary files, on a disk with room for 50 bytes for each pixel of an image. By '
        'default the directory of the result; for images that are not from a file, the one of the system.')
    audit = ConfigItem(
        ['refuse', 'warn', 'off'],
        "Treatment of a result that its own data exclude: 'refuse' it, 'warn' of it, or 'off': make no audit.")
    gain_keywords = ConfigItem(
        ['EGAIN', 'GAIN', 'CCDGAIN', 'ATODGAIN', 'GAINA', 'ADCGAIN'],
        'Header keywords that may hold the gain in electrons per adu, most trusted first.', cfgtype='list')
    readnoise_keywords = ConfigItem(
        ['RDNOISE', 'READNOIS', 'READNSE', 'RON', 'ENOISE', 'RDNOISEA', 'READNSEA'],
        'Header keywords that may hold the read noise in electrons, most trusted first.', cfgtype='list')
    ncombine_keywords = ConfigItem(
        ['NCOMBINE', 'NCOMB', 'NSTACK', 'STACKCNT'],
        'Header keywords that may hold the number of exposures of which the data are the average; the gain of the '
        'header is taken to be of one of them.', cfgtype='list')
    saturation_keywords = ConfigItem(
        ['SATURATE', 'SATLEVEL', 'SATURATA'],
        'Header keywords that may hold the level, in data units, at which pixels saturate.', cfgtype='list')


conf = Conf()
