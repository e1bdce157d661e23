# Licensed under a 3-clause BSD style license - see LICENSE
"""
The columns of a catalogue of frames.
"""

from typing import NamedTuple

import numpy as np
from astropy.table import Table

__all__ = ['COLUMNS', 'make_table', 'missing_columns']


class Column(NamedTuple):
    """
    A column of a catalogue.

    Parameters
    ----------
    kind : type
        Of its values: str, int or float. Unknown values are an empty text, -1 or NaN.
    unit : str
        Unit; empty without a unit.
    description : str
        Meaning.
    """

    kind: type
    unit: str
    description: str

    @property
    def unknown(self):
        """Value where nothing is known."""
        return {str: '', int: -1, float: np.nan}[self.kind]


#: The columns of a catalogue, by name.
COLUMNS = {name: Column(*column) for name, column in {
    'id': (str, '', 'first 12 characters of the SHA-1 of the file'),
    'sha1': (str, '', 'SHA-1 of the file'),
    'path': (str, '', 'file'),
    'ext': (int, '', 'number of the HDU; 0 for a raster image, -1 if the file cannot be read'),
    'shape': (str, '', 'shape of the image, planes x rows x columns'),
    'dtype': (str, '', 'type of the stored numbers'),
    'unit': (str, '', 'unit of the data; adu where the header has none'),
    'telescope': (str, '', 'TELESCOP'),
    'instrument': (str, '', 'INSTRUME'),
    'filter': (str, '', 'FILTER and the like'),
    'object': (str, '', 'OBJECT'),
    'imagetype': (str, '', 'IMAGETYP and the like: light, bias, dark, flat, ...'),
    'exptime': (float, 's', 'exposure time'),
    'date': (str, '', 'start of the exposure'),
    'gain': (float, 'electron / adu', 'gain of the header, where it holds for the data'),
    'readnoise': (float, 'electron', 'read noise of the header'),
    'ra': (float, 'deg', 'right ascension of the middle of the image'),
    'dec': (float, 'deg', 'declination of the middle of the image'),
    'pixel_scale': (float, 'arcsec', 'height of a pixel, geometric mean of both sides'),
    'background': (float, '', 'level of the sky, in the unit of the data; of a mosaic, the mean of its colours'),
    'noise': (float, '', 'noise of the sky, in the unit of the data; of a mosaic, the median of its colours; 0 if the '
                         'image is constant'),
    'rho_x': (float, '', 'correlation of the noise of neighbours in a row; in a mosaic, neighbours of one colour'),
    'rho_y': (float, '', 'correlation of the noise of neighbours in a column; in a mosaic, neighbours of one colour'),
    'saturated': (float, '', 'share of saturated pixels'),
    'nonfinite': (float, '', 'share of pixels that are NaN or infinite'),
    'masked': (float, '', 'share of all pixels that do not count, saturated and not finite ones among them'),
    'bytes': (int, 'byte', 'size of the file'),
    'mtime': (int, 'ns', 'time of the last change of the file'),
    'error': (str, '', 'reason why the file cannot be read'),
}.items()}


def make_table(rows):
    """
    Make a catalogue of its rows.

    Parameters
    ----------
    rows : iterable of dict
        A row each; columns that a row lacks are not known.

    Returns
    -------
    `~astropy.table.Table`
        With all columns, their units and descriptions, and any other columns that all of the rows have.

    Examples
    --------
    >>> from astropy_n2v.collections.columns import make_table
    >>> table = make_table([{'path': 'a.fits', 'exptime': 30}])
    >>> table['exptime'].unit, table['exptime'][0].item(), table['ext'][0].item()
    (Unit("s"), 30.0, -1)
    """
    rows = list(rows)
    table = Table()
    for name, column in COLUMNS.items():
        values = [row.get(name, column.unknown) for row in rows]
        dtype = {int: np.int64}.get(column.kind, column.kind)
        table[name] = np.array(values, dtype=dtype) if rows else np.zeros(0, dtype='U1' if dtype is str else dtype)
        table[name].description = column.description
        if column.unit:
            table[name].unit = column.unit
    for name in rows[0] if rows else ():
        if name not in COLUMNS and all(name in row for row in rows):
            table[name] = [row[name] for row in rows]
    return table


def missing_columns(table):
    """List the columns that a table lacks to be a catalogue."""
    return [name for name in COLUMNS if name not in table.colnames]
