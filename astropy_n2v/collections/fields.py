# Licensed under a 3-clause BSD style license - see LICENSE
"""
Frames of a collection that belong together: of one file, of one content, or of one field of the sky.
"""

import re

import numpy as np

from ..utils.checks import check_number

__all__ = ['find_fields']

# Names in OBJECT that name no field.
_NO_FIELD = {'', 'object', 'unknown', 'none', 'test', 'target', 'sky', 'science', 'light', 'dark', 'bias', 'zero',
             'flat', 'domeflat', 'skyflat', 'twilight', 'focus'}
# Degrees: half of the side of a field whose pixel scale is known, but not its size, and vice versa.
_RADIUS = 0.05


class Groups:
    """
    Items that are joined one by one, and the groups that result.

    Parameters
    ----------
    n : int
        Number of items.

    Examples
    --------
    >>> from astropy_n2v.collections.fields import Groups
    >>> groups = Groups(4)
    >>> groups.join([0, 2])
    >>> groups.join([2, 3])
    >>> groups.labels().tolist()
    [0, 1, 0, 0]
    """

    def __init__(self, n):
        self._parents = list(range(n))

    def _root(self, i):
        while self._parents[i] != i:
            self._parents[i] = i = self._parents[self._parents[i]]
        return i

    def join(self, items):
        """Join some items, and all that they are joined with already."""
        roots = {self._root(i) for i in items}
        for root in roots:
            self._parents[root] = min(roots)

    def labels(self):
        """Number of the group of each item, counted from 0 in the order of their first items."""
        roots = [self._root(i) for i in range(len(self._parents))]
        numbers = {root: n for n, root in enumerate(dict.fromkeys(roots))}
        return np.array([numbers[root] for root in roots], dtype=int)


def find_fields(manifest, *, separation=None, by='field'):
    """
    Number the fields of a collection, whose frames must not be divided between training and test.

    Frames belong to one field if they are images of one file, or of files of the same content; if they overlap on the
    sky; or if one of them has no WCS and their OBJECT is the same. Frames that share no more than an edge or a corner
    are two fields. A frame with neither WCS nor OBJECT is a field of its own.

    Parameters
    ----------
    manifest : `~astropy.table.Table`
        From `make_manifest`.
    separation : float, optional
        Distance in degrees below which the middles of two frames belong to one field; by default half of the sum of
        their sides.
    by : {'field', 'frame'}, optional
        'frame': only images of one file, or of files of the same content, belong together.

    Returns
    -------
    `~numpy.ndarray` of int
        Number of the field of each row, from 0.

    Raises
    ------
    ValueError
        If ``separation`` is not positive, or ``by`` is anything else.

    Examples
    --------
    >>> from astropy_n2v.collections import find_fields
    >>> from astropy_n2v.collections.columns import make_table
    >>> place = {'shape': '1000x1000', 'pixel_scale': 0.36, 'dec': 20.0}   # 0.1 degrees
    >>> manifest = make_table([{'path': f'{n}.fits', 'sha1': str(n), 'ra': ra, **place}
    ...                        for n, ra in enumerate((10.0, 359.99, 10.05, 0.01))])
    >>> find_fields(manifest).tolist()
    [0, 1, 0, 1]
    """
    separation = check_number('separation', separation, 'a positive number of degrees', lambda value: value > 0)
    if by not in ('field', 'frame'):
        raise ValueError(f"by must be 'field' or 'frame', got {by!r}")
    groups = Groups(len(manifest))
    for name in ('path', 'sha1'):
        _join_equal(groups, manifest[name].tolist())
    if by == 'frame':
        return groups.labels()
    ra, dec = (np.asarray(manifest[name], dtype=float) for name in ('ra', 'dec'))
    placed = np.isfinite(ra) & np.isfinite(dec)
    _join_by_object(groups, manifest['object'].tolist(), placed)
    places = np.flatnonzero(placed)
    ra, dec = np.radians(ra[places]), np.radians(dec[places])
    radii = _radii(manifest)[places] if separation is None else np.full(places.size, separation / 2)
    vectors = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=1)
    _join_near(groups, places, vectors, np.radians(radii))
    return groups.labels()


def _join_equal(groups, values):
    same = {}
    for i, value in enumerate(values):
        if value:
            same.setdefault(value, []).append(i)
    for items in same.values():
        groups.join(items)


def _join_by_object(groups, names, placed):
    """Join the frames of one object, unless the places of all of them are known."""
    same = {}
    for i, name in enumerate(names):
        name = re.sub(r'[\W_]', '', str(name).casefold())
        if name not in _NO_FIELD:
            same.setdefault(name, []).append(i)
    for items in same.values():
        if not placed[items].all():
            groups.join(items)


def _radii(manifest):
    """Half of the side of each frame in degrees: the geometric mean of height and width."""
    sides = np.array([np.sqrt(np.prod([float(n) for n in shape.split('x')[-2:]])) if shape else np.nan
                      for shape in manifest['shape'].tolist()])
    radii = sides * np.asarray(manifest['pixel_scale'], dtype=float) / 7200
    return np.where(np.isfinite(radii), radii, _RADIUS)


def _join_near(groups, items, vectors, radii):
    """Join items whose distance is less than the sum of their radii, by vectors to them; each is looked at once."""
    left = np.arange(len(items))
    while left.size:
        new, left = [left[0]], left[1:]
        while new:
            member = new.pop()
            # Chords of the unit sphere, which are accurate for small angles.
            chord = np.linalg.norm(vectors[left] - vectors[member], axis=1)
            near = chord < 2 * np.sin(np.minimum(radii[left] + radii[member], np.pi) / 2)
            groups.join(items[[member, *left[near]]].tolist())
            new += left[near].tolist()
            left = left[~near]
