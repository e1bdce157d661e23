# Licensed under a 3-clause BSD style license - see LICENSE
"""
How the maps of one frame are searched for injected sources and for false detections.
"""

import numpy as np
from astropy.nddata import CCDData
from astropy.table import Table, vstack
from scipy.ndimage import binary_dilation
from scipy.spatial import cKDTree

from ...photometry.frames import sky_of
from ...utils.checks import require
from ..detection.maps import StarFilter, find_sources, maps_of
from ..measures.frames import flip_frame, run_denoiser, with_data
from .sources import overlap, source_stamps

__all__ = []

# The lowest score of any use: of smaller maxima there is no end.
LOWEST = 1e-6


class Search:
    """The sky of one frame, the places to search, and the way to do it."""

    def __init__(self, ccd, psf, mask, sigma, extra, radius, *, empty=False):
        self.ccd, self.psf, self.extra, self.radius = ccd, psf, extra, radius
        data, bad, background, sigma = sky_of(ccd, mask, sigma)
        self.background = np.broadcast_to(background, data.shape)
        self.sigma = np.broadcast_to(sigma, data.shape)
        self.filter = StarFilter(psf, bad, self.background, self.sigma)
        self.covered = bad | ~self.filter.useful
        if not empty:
            # Real sources, and a seeing disc around them. Not what is negative: turned upside down, it counts as false.
            size = 2 * int(np.ceil(psf.fwhm)) + 1
            self.covered |= binary_dilation(self.filter.significance(data) > 5, np.ones((size, size)))
        self.area = float(np.sum(~self.covered) / 1e6)

    def maps(self, noisy, denoised):
        """Compute the maps to detect on."""
        return maps_of(self.filter, noisy, denoised, self.extra)

    def find(self, image, threshold):
        """Find detections above a threshold where nothing real is."""
        found = self.catalog(image, threshold)
        inside = ~self.covered[np.rint(found['y']).astype(int), np.rint(found['x']).astype(int)]
        return found[inside]

    def catalog(self, image, floor):
        """Find all detections above the floor, also on real sources, where an injected one may peak on its own."""
        return find_sources(image, max(floor, LOWEST), fwhm=self.psf.fwhm)

    def score(self, found, sources):
        """Find score and offset of the highest detection near each source, shape (3, n); NaN without one."""
        result = np.full((3, len(sources)), np.nan)
        if len(found) == 0:
            return result
        score = np.asarray(found['score'])
        xy, place = (np.stack([np.asarray(table['x']), np.asarray(table['y'])], axis=1) for table in (found, sources))
        for i, candidates in enumerate(cKDTree(xy).query_ball_point(place, self.radius)):
            if candidates:
                best = min(candidates)   # sorted by falling score
                result[:, i] = score[best], *(xy[best] - place[i])
        return result

    def fluxes(self, images, sources):
        """Fit the flux of the profile of each source at its position by least squares, on several images."""
        size = 2 * int(np.ceil(3 * self.psf.fwhm)) + 1
        result = np.full((len(images), len(sources)), np.nan)
        excesses = [np.where(self.filter.bad, 0, np.asarray(image.data, dtype=float) - self.background)
                    for image in images]
        for i, y0, x0, stamp in source_stamps(sources, self.psf, size):
            where, part = overlap(y0, x0, stamp, self.sigma.shape)
            weighted = stamp[part] * self.filter.fit.weights[where]
            norm = np.sum(weighted * stamp[part])
            if norm > 0:
                result[:, i] = [np.sum(weighted * np.where(np.isfinite(excess[where]), excess[where], 0)) / norm
                                for excess in excesses]
        return result


def blank_frames(blank, search, n_blank, rng):
    """Yield frames on which every detection is false, and how to search them."""
    ccd = search.ccd
    if blank == 'flip':
        yield flip_frame(ccd, search.background), search
    elif blank == 'noise':
        for _ in range(n_blank):
            noise = rng.normal(0, 1, search.sigma.shape) * search.sigma
            yield with_data(ccd, np.where(search.filter.bad, np.asarray(ccd.data), search.background + noise)), search
    else:
        for frame in blank:
            yield frame, Search(frame, search.psf, None, None, search.extra, search.radius, empty=True)


def false_table(denoiser, frames, max_false_rate, tick):
    """List the highest detections on blank frames, and the lowest score down to which they are complete."""
    parts, area, images = [], 0.0, {}
    for number, (frame, search) in enumerate(frames):
        area += search.area
        for name, image in search.maps(frame, run_denoiser(denoiser, frame)).items():
            found = search.find(image, LOWEST)
            most = int(np.ceil(max_false_rate * search.area))
            lowest = float(found['score'][most]) if len(found) > most else LOWEST
            images[name] = max(images.get(name, LOWEST), lowest)
            found = found[:most]
            parts.append(Table({'image': np.full(len(found), name, dtype='U64'), 'frame': np.full(len(found), number),
                                'x': found['x'], 'y': found['y'], 'score': found['score']}))
        tick()
    table = vstack(parts, metadata_conflicts='silent')
    keep = np.array([score >= images[name] for name, score in zip(table['image'], table['score'])], dtype=bool)
    table = table[keep]
    table.meta = {'area': area}
    return table, images


def check_blank(blank, n_blank):
    """Find number and kind of the blank frames; raise ValueError if there cannot be any."""
    if blank is None:
        return 0, 'none'
    if isinstance(blank, str):
        require(blank in ('flip', 'noise'), 'blank', "be 'flip', 'noise', a list of source-free frames or None", blank)
        require(n_blank >= 1, 'n_blank', 'be at least 1', n_blank)
        return (1 if blank == 'flip' else n_blank), blank
    require(not isinstance(blank, CCDData) and len(blank) > 0, 'blank',
            "be 'flip', 'noise', a list of at least one source-free frame or None", type(blank))
    return len(blank), 'given'
