# Licensed under a 3-clause BSD style license - see LICENSE
"""
A blind-spot network with what it takes to apply it to arrays: scale, tiles, posterior.
"""

import hashlib
import logging
import os
from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import minimum_filter1d

from .bootstrap import SpreadCorrection, correlated_normal
from .calibration import Calibration
from .config import conf
from .exceptions import CannotDenoiseError
from .io.files import replacing
from .modelfiles import parse, serialize
from .networks import blind_moments, expected_photon_variance, network_inputs, posterior_moments
from .noise import estimate_noise, noise_autocorrelation
from .scaling import Scaling, coprime_step, middle_cutout
from .tiling import Tiling
from .weights import check_integrity, find_model, model_names

__all__ = ['Denoiser', 'Prediction', 'select_device']

log = logging.getLogger(__name__)

_ROWS = 64   # rows of the image for which the posterior is computed at a time
# A pixel cannot have less light than the faintest of its surroundings, which are so many pixels on each side.
_SURROUNDINGS = 4
_MAX_CALIBRATION = 1_000_000   # pixels
# A model that learned from a single frame is tried out on a part of so many pixels along each axis.
_BOOTSTRAP_SIZE = 768
# Its errors are measured in units of the noise, which is taken to be at least this share of that of the sky:
# without read noise there is none where no light is expected.
_LEAST_VARIANCE = 1e-3


def select_device(device=None):
    """
    Turn the name of a device into a device.

    Parameters
    ----------
    device : str or `torch.device`, optional
        'auto' takes a GPU where there is one; None is `~astropy_n2v.conf`'s choice.

    Returns
    -------
    `torch.device`
        The device.

    Raises
    ------
    ValueError
        If there is no such device.
    """
    device = conf.device if device is None else device
    if device == 'auto':
        device = 'cuda' if torch.cuda.is_available() else 'cpu'
    try:
        device = torch.device(device)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device must be 'auto', 'cpu' or an available accelerator such as 'cuda:0', got "
                         f'{device!r} ({str(error).splitlines()[0]})') from error
    return device


def _faintest_surroundings(image):
    """The least value within a square around each pixel."""
    for axis in range(2):
        image = minimum_filter1d(image, 2 * _SURROUNDINGS + 1, axis=axis, mode='nearest')
    return image


def _predict_tile(network, inputs, inner):
    """Blind mean and logarithm of the spread of the inner part of a tile."""
    return blind_moments(network.predict(inputs, inner))


def _predict_orientations(network, inputs, inner):
    """The same as a mean over all orientations; their scatter adds to the spread."""
    means, log_spreads = [], []
    # The hole turns with the image, where it is no square.
    for turn in (range(4) if network.hole[0] == network.hole[1] else (0, 2)):
        for flip in [], [3]:
            output = network.predict(torch.rot90(inputs, turn, dims=(2, 3)).flip(flip))
            mean, log_spread = blind_moments(torch.rot90(output.flip(flip), -turn, dims=(2, 3))[:, :, *inner])
            means.append(mean)
            log_spreads.append(log_spread)
    means, log_spread = torch.stack(means), torch.stack(log_spreads).mean(dim=0)
    return means.mean(dim=0), 0.5 * torch.log(torch.exp(2 * log_spread) + means.var(dim=0, correction=0))


@dataclass
class Prediction:
    """
    What a `Denoiser` says of an image; all arrays have its shape and its units.

    Parameters
    ----------
    mean, std : `~numpy.ndarray`
        Mean and standard deviation of the posterior.
    blind_mean, blind_std : `~numpy.ndarray` or None
        Mean and spread of a pixel given its surroundings alone.
    innovation : `~numpy.ndarray` or None
        (data - blind mean) / its expected deviation, which should be N(0, 1); NaN where the
        data do not count.
    outlier : `~numpy.ndarray` or None
        Probability that the pixel could not be foreseen from its surroundings: transients,
        cosmic rays, hot pixels.
    noise_std : `~numpy.ndarray` or None
        Standard deviation of the noise that was assumed.
    scaling : Scaling
        Background and sky noise that were used.
    calibration : Calibration
        What the innovations said.
    """

    mean: np.ndarray
    std: np.ndarray
    blind_mean: np.ndarray = None
    blind_std: np.ndarray = None
    innovation: np.ndarray = None
    outlier: np.ndarray = None
    noise_std: np.ndarray = None
    scaling: Scaling = None
    calibration: Calibration = None


class Denoiser:
    """
    A trained blind-spot network.

    Parameters
    ----------
    network : BlindSpotUNet
        The network.
    metadata : dict, optional
        What is known about it; must be representable as JSON.

    See Also
    --------
    astropy_n2v.train : Train one.
    astropy_n2v.denoise : Apply one to CCDData and other containers.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v import Denoiser, NoiseModel
    >>> image = np.random.default_rng(0).normal(100.0, 5.0, (64, 64))
    >>> denoiser = Denoiser.load('default')
    >>> result = denoiser.predict(image, NoiseModel(5.0))
    >>> bool(result.mean.std() < 1.5)
    True
    """

    def __init__(self, network, metadata=None):
        self.network = network.eval()
        self.metadata = dict(metadata or {})
        self._sha256 = None
        self._dtype = 'float32'

    @property
    def hole(self):
        """Height and width of the hole around each pixel that its prediction does not see."""
        return self.network.hole

    @property
    def margin(self):
        """Pixels at interior edges of a tile whose prediction is not to be used."""
        return int(self.metadata.get('margin', self.network.receptive_radius))

    @property
    def sha256(self):
        """SHA-256 of the file that the model was loaded from, or else of the file that `save` writes."""
        if self._sha256 is None:
            self._sha256 = hashlib.sha256(serialize(self.network, self.metadata, self._dtype)).hexdigest()
        return self._sha256

    def __repr__(self):
        name = self.metadata.get('name')
        return f'<Denoiser{" " + repr(name) if name else ""}, hole {self.hole[0]}x{self.hole[1]}, ' \
               f'sha256 {self.sha256[:12]}>'

    def _inputs(self, data, valid, noise, scaling, y, x, shape):
        """What the network sees of the part (y, x) of an image, padded to ``shape``."""
        part = data[y, x]
        seen = np.zeros(shape, dtype=np.float32)
        seen[:part.shape[0], :part.shape[1]] = valid[y, x]
        planes = [seen]
        with np.errstate(invalid='ignore', over='ignore'):
            scaling = scaling.at(y, x)
            values = [scaling.forward(part.astype(float)), *scaling.noise_parameters(noise.at(data.shape, y, x))]
        for value in values:
            plane = np.zeros(shape, dtype=np.float32)
            plane[:part.shape[0], :part.shape[1]] = value
            planes.append(plane)
        seen, z, *parameters = (torch.from_numpy(plane)[None, None] for plane in planes)
        return network_inputs(torch.where(seen > 0, z, 0), seen, *parameters)

    def _predict_blind(self, data, valid, noise, scaling, *, tile_size, device, predict_tile=_predict_tile,
                       progress=None):
        """Blind mean and spread of an image, in units of its sky noise, float32."""
        mean, spread = (np.zeros(data.shape, dtype=np.float32) for _ in range(2))
        tiling = Tiling(data.shape, tile_size, self.margin, alignment=self.network.alignment)
        network = self.network.to(device)
        for i, tile in enumerate(tiling):
            shape = (tile.y.stop - tile.y.start, tile.x.stop - tile.x.start)
            inputs = self._inputs(data, valid, noise, scaling, tile.y, tile.x, shape)
            with torch.inference_mode():
                blind, log_spread = predict_tile(network, inputs.to(device), tile.inner)
                blind, deviation = blind[0, 0].cpu().numpy(), log_spread.exp()[0, 0].cpu().numpy()
            target = mean[tile.inner_y, tile.inner_x]
            cut = (slice(target.shape[0]), slice(target.shape[1]))
            weight = tile.weight[tile.inner][cut]
            target += weight * blind[cut]
            spread[tile.inner_y, tile.inner_x] += weight * deviation[cut]
            if progress:
                progress((i + 1) / len(tiling))
        return mean, spread

    def _calibrate(self, data, valid, noise, scaling, mean, spread, judged):
        """Compare the blind prediction with the data on a sample of pixels."""
        index = np.arange(0, valid.size, coprime_step(np.count_nonzero(valid) // _MAX_CALIBRATION, valid.shape[1]))
        index = index[valid.ravel()[index]]
        if index.size == 0:
            return Calibration.neutral()
        rows, columns = np.unravel_index(index, data.shape)
        scaling = scaling.at(rows, columns)
        y = scaling.forward(data.ravel()[index].astype(float))
        blind, deviation = mean.ravel()[index].astype(float), spread.ravel()[index].astype(float)
        parameters = scaling.noise_parameters(noise.at(data.shape, rows, columns))
        tensors = [torch.from_numpy(np.broadcast_to(value, y.shape).copy())[None]
                   for value in (y, blind, deviation, *parameters)]
        _, _, _, outlier, variance = posterior_moments(tensors[0], torch.ones_like(tensors[0], dtype=torch.bool),
                                                       *tensors[1:], suspect_neighbours=False)
        return Calibration.fit(y - blind, blind, deviation, variance[0].numpy(), 1 - outlier[0].numpy(),
                               judged=None if judged is None else np.asarray(judged).ravel()[index],
                               relative_error=noise.relative_error)

    def _bootstrap(self, data, valid, noise, scaling, mean, spread, negative_sources, **options):
        """
        The spread as it should be, of a model that was trained on nothing but these data.

        The first result is taken for the truth, is observed again, and predicted. It is rougher than the truth, as
        it lets noise through; the result with the spread that is found is smoother, as it lacks what is too faint
        to be seen. So that is observed, too, and both together decide.
        """
        part = middle_cutout(valid, _BOOTSTRAP_SIZE)
        noise_part, good, shape = noise.at(data.shape, *part), valid[part], data[part].shape
        rng = np.random.default_rng(0)
        correlation = None
        if max(self.hole) > 1:
            try:
                correlation = noise_autocorrelation(data, ~valid, max_lag=max(self.hole) // 2)
            except CannotDenoiseError:
                log.info('the noise is taken to be white, as its autocorrelation cannot be measured')

        def variance_at(blind, pixels):
            signal = scaling.at(*pixels).backward(blind)
            variance = noise.at(data.shape, *pixels).variance(signal) / scaling.scale ** 2
            return np.maximum(np.broadcast_to(variance, blind.shape), _LEAST_VARIANCE)

        samples, corrected = [], spread[part]
        part_scaling = scaling.at(*part)
        for _ in range(2):
            result = self._posterior(data[part], good, noise_part, part_scaling, mean[part], corrected,
                                     Calibration.neutral(), 1.0, negative_sources, slice(0, shape[0]))
            truth = result['mean'].astype(float)
            if correlation is None:
                again = noise_part.sample(truth, rng)
            else:
                again = truth + np.sqrt(noise_part.variance(truth)) * correlated_normal(correlation, shape, rng)
            blind, stated = self._predict_blind(again, good, noise_part, part_scaling, **options)
            # What could not be foreseen tells nothing of the errors of what can.
            counts = good & (result['outlier'] < 0.5)
            samples.append([values[counts].astype(float) for values in (
                blind - part_scaling.forward(truth), blind, stated, variance_at(blind, part))])
            correction = SpreadCorrection.fit(*(np.concatenate(values) for values in zip(*samples)))
            if correction is None:
                return spread
            corrected = correction.apply(mean[part], spread[part], variance_at(mean[part], part))
        # Some rows at a time, since double precision takes more memory than all else.
        for start in range(0, len(mean), _ROWS):
            pixels = slice(start, start + _ROWS), slice(None)
            spread[pixels] = correction.apply(mean[pixels], spread[pixels], variance_at(mean[pixels], pixels))
        return spread

    def predict(self, data, noise=None, mask=None, *, judged=None, calibrate=True, strength=1.0,
                negative_sources=False, tile_size=None, device=None, progress=None, full_output=True):
        """
        Denoise an array.

        Parameters
        ----------
        data : array_like
            Image of shape (ny, nx); non-finite pixels count as masked.
        noise : NoiseModel, optional
            Its noise, in data units; by default it is estimated from the image.
        mask : array_like of bool, optional
            True where the data do not count: there the posterior is the blind prediction.
        judged : array_like of bool, optional
            True for pixels that may judge the prediction: those that the model was not trained
            on, where it was trained on this very image. By default all. Of a model that was trained
            on nothing else, the prediction is then a mean over all orientations of the image, and
            its spread is that of its errors where the result is observed again (parametric bootstrap).
        calibrate : bool, optional
            Whether to correct the blind prediction by what the innovations say.
        strength : float, optional
            From 0 (the data) to 1 (the posterior).
        negative_sources : bool, optional
            Whether sources may be negative, as in differences of images. If not, a pixel that is
            unforeseeably dark is taken for a defect, and its prediction for the result.
        tile_size : int, optional
            Largest height and width of the parts in which a large image is processed; by
            default ``conf.tile_size``.
        device : str or `torch.device`, optional
            Where to compute; by default ``conf.device``.
        progress : callable, optional
            Called with the fraction done.
        full_output : bool, optional
            Whether to keep more than mean and standard deviation.

        Returns
        -------
        Prediction
            Float64 arrays if ``data`` is float64, else float32.

        Raises
        ------
        ValueError
            If ``data`` is not two-dimensional, shapes do not agree, or no pixel is valid.
        """
        data = np.asarray(data)
        if data.ndim != 2:
            raise ValueError(f'data must be two-dimensional, got {data.ndim} dimensions')
        data = data if data.dtype.isnative else data.astype(data.dtype.newbyteorder('='))
        dtype = np.float64 if data.dtype == np.float64 else np.float32
        valid = np.isfinite(data)
        if mask is not None:
            if np.shape(mask) != data.shape:
                raise ValueError(f'mask must have the shape of data, {data.shape}, got {np.shape(mask)}')
            valid &= ~np.asarray(mask, dtype=bool)
        if not valid.any():
            raise ValueError('data has no valid pixel: all are masked or not finite')
        if noise is None:
            noise = estimate_noise(data, ~valid)
        noise.check_shape(data.shape)
        # A pixel without noise cannot be weighed against its surroundings.
        bad = noise.unusable(data.shape)
        if bad is not None:
            valid &= ~bad
        scaling = Scaling.from_image(data, noise, ~valid)
        device = select_device(device)
        tile_size = conf.tile_size if tile_size is None else tile_size
        # A network that has seen nothing but this image scatters, from orientation to orientation and pixel to pixel.
        scatters = judged is not None and 'init_sha256' not in self.metadata
        options = {'tile_size': tile_size, 'device': device,
                   'predict_tile': _predict_orientations if scatters else _predict_tile}
        # The bootstrap predicts a cut-out twice more.
        share = 1 / (1 + 2 * min(1, _BOOTSTRAP_SIZE ** 2 / data.size)) if scatters else 1.0
        report = progress and (lambda fraction: progress(share * fraction))
        blind_mean, blind_spread = self._predict_blind(data, valid, noise, scaling, progress=report, **options)
        if scatters:
            blind_spread = self._bootstrap(data, valid, noise, scaling, blind_mean, blind_spread, negative_sources,
                                           **options)
            if progress:
                progress(1.0)
        calibration = self._calibrate(data, valid, noise, scaling, blind_mean, blind_spread, judged)
        applied = calibration if calibrate else Calibration.neutral()

        names = ('mean', 'std', 'blind_mean', 'blind_std', 'innovation', 'outlier', 'noise_std')
        result = {name: np.empty(data.shape, dtype=dtype) for name in (names if full_output else names[:2])}
        for start in range(0, data.shape[0], _ROWS):
            rows = slice(start, min(start + _ROWS, data.shape[0]))
            part = self._posterior(data, valid, noise, scaling, blind_mean, blind_spread, applied, strength,
                                   negative_sources, rows)
            for name, values in result.items():
                values[rows] = part[name]
        return Prediction(**result, scaling=scaling, calibration=calibration)

    @staticmethod
    def _posterior(data, valid, noise, scaling, blind_mean, blind_spread, calibration, strength, negative_sources,
                   rows):
        """Posterior of some rows, in data units. Some more rows on each side tell of the surroundings."""
        halo = slice(max(rows.start - _SURROUNDINGS, 0), min(rows.stop + _SURROUNDINGS, data.shape[0]))
        inner = slice(rows.start - halo.start, rows.stop - halo.start)
        good = valid[halo]
        scaling = scaling.at(halo, slice(0, data.shape[1]))
        with np.errstate(invalid='ignore', over='ignore'):
            y = np.where(good, scaling.forward(np.where(good, data[halo], scaling.level).astype(float)), 0)
        parameters = scaling.noise_parameters(noise.at(data.shape, halo, slice(None)))
        mean, spread = blind_mean[halo].astype(float), blind_spread[halo].astype(float)
        v0, slope, zero = parameters
        photon = expected_photon_variance(*(torch.as_tensor(value) for value in (mean, spread, slope, zero))).numpy()
        mean, spread = calibration.apply(mean, spread, v0 + photon)
        tensors = [torch.from_numpy(np.broadcast_to(value, y.shape).astype(value.dtype, copy=True))
                   for value in (y, good, mean, spread, *(np.asarray(p, dtype=float) for p in parameters))]
        post, variance, innovation, outlier, noise_variance = (
            values.numpy()[inner] for values in posterior_moments(
                *tensors, strength=strength,
                floor=None if negative_sources else torch.from_numpy(_faintest_surroundings(mean))))
        mean, spread = mean[inner], spread[inner]
        scaling, scale = scaling.at(inner, slice(None)), scaling.scale
        return {'mean': scaling.backward(post), 'std': np.sqrt(variance) * scale,
                'blind_mean': scaling.backward(mean), 'blind_std': spread * scale, 'innovation': innovation,
                'outlier': outlier, 'noise_std': np.sqrt(noise_variance) * scale}

    def save(self, path, *, overwrite=False, dtype=None):
        """
        Write the model to a file: weights as safetensors, everything else as JSON in its header.

        Parameters
        ----------
        path : str or path-like
            File to write. It appears only once it is complete.
        overwrite : bool, optional
            Whether to replace an existing file.
        dtype : {'float32', 'float16'}, optional
            How to store the weights. 'float16' halves the file and rounds the weights to one part
            in 2000, in the file only. Whatever they are stored in, `load` makes them float32, and
            that is what is computed in. By default that of the file that the model was loaded
            from, else 'float32'.

        Raises
        ------
        FileExistsError
            If the file exists and ``overwrite`` is false.
        OSError
            If it cannot be written.
        ValueError
            If there is no such ``dtype``, or a weight is beyond its range.

        Examples
        --------
        >>> import tempfile
        >>> from pathlib import Path
        >>> from astropy_n2v import Denoiser
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     path = Path(directory) / 'small.safetensors'
        ...     Denoiser.load('default').save(path, dtype='float16')
        ...     small = Denoiser.load(path)
        >>> small.network.join.weight.dtype
        torch.float32
        """
        # Before the file is made: weights may be beyond the range.
        raw = serialize(self.network, self.metadata, self._dtype if dtype is None else dtype)
        with replacing(path, overwrite=overwrite) as temporary:
            temporary.write_bytes(raw)

    @classmethod
    def load(cls, path, *, hole=None):
        """
        Read a model. Nothing in the file is ever executed.

        Parameters
        ----------
        path : str or path-like
            File that `save` wrote, or the name of a model that is shipped with the package:
            'default', or one of those that ``astropy-n2v models`` lists, such as 'default-3x3'.
            A file of such a name needs its directory, as in './default'.
        hole : tuple of int, optional
            For 'default': the hole that is needed. The smallest shipped one that covers it is
            taken; by default that of one pixel.

        Returns
        -------
        Denoiser
            The model.

        Raises
        ------
        FileNotFoundError
            If there is no such file, nor a shipped model of that name.
        ValueError
            If the file is truncated, is no model of this package, or holds another
            architecture, or a shipped model is not what was shipped.

        Examples
        --------
        >>> from astropy_n2v import Denoiser
        >>> Denoiser.load('default-3x3').hole
        (3, 3)
        """
        name = os.fspath(path)
        found = find_model(name, hole)
        if found is None and not os.path.lexists(name):
            raise FileNotFoundError('model must be a file, or a model that is shipped with the package (default, '
                                    f'{", ".join(model_names())}), got {name!r}: there is no such file')
        name = found or name
        with open(name, 'rb') as file:
            raw = file.read()
        sha256 = check_integrity(name, raw)
        network, metadata, dtype = parse(raw, name)
        denoiser = cls(network, metadata)
        denoiser._sha256, denoiser._dtype = sha256, dtype
        return denoiser
