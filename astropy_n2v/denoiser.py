# Licensed under a 3-clause BSD style license - see LICENSE
"""
A blind-spot network with what it takes to apply it to arrays: scale, tiles, posterior.
"""

import hashlib
import logging
import os
from dataclasses import dataclass, replace

import numpy as np
import torch

from .audit import Auditor, AuditReport, severity
from .config import conf
from .inference.blank_sky import variance_factor
from .inference.bootstrap import BOOTSTRAP_SIZE, bootstrap_spread
from .inference.bounds import bound_prediction
from .inference.evenness import even_spread
from .inference.normalization import Normalization, NormalizedImage
from .inference.outliers import single_pixel_outliers
from .inference.posterior import posterior_of_rows, recalibrate
from .inference.recalibration import Recalibration
from .inference.tiling import Tiling
from .inference.whitening import Whitening, whiten_image
from .networks import blind_moments, network_inputs
from .networks.precision import select_dtype
from .noise import estimate_noise
from .noise.model import BROAD_WEIGHT
from .utils.files import atomic_write
from .utils.sampling import row_blocks
from .weights import check_integrity, find_model, model_names
from .weights.files import parse, serialize

__all__ = ['Denoiser', 'Prediction', 'select_device']

log = logging.getLogger(__name__)

_LEAST_LOCAL = 0.2   # units of the typical noise; least noise of a pixel that the network is shown
_WHITE = np.pad([[1.0]], 2)   # autocorrelation of white noise
_DOUBTFUL = 0.1   # by how much the rms of innovations may differ from 1 where noise was whitened
_ROWS = 64   # rows of the image for which the posterior is computed at a time


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
        found = torch.device(device)
        torch.empty(1, device=found)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device must be 'auto', 'cpu' or an available accelerator such as 'cuda:0', got "
                         f'{device!r} ({str(error).splitlines()[0]})') from error
    return found


def _inputs(image, shape):
    """What the network sees of an image, padded to ``shape``."""
    def padded(values):
        plane = np.zeros(shape, dtype=np.float32)
        plane[:image.shape[0], :image.shape[1]] = values
        return torch.from_numpy(plane)[None, None]
    with np.errstate(over='ignore'):
        v0, slope, zero = image.noise_parameters()
        if np.ndim(v0):
            # Pixels far deeper than the typical one are outside of what the network was trained on.
            v0 = np.maximum(v0, _LEAST_LOCAL ** 2)
        seen, z, *parameters = (padded(values) for values in (image.seen, image.values(), v0, slope, zero))
    return network_inputs(z, seen, *parameters)


def _predict_tile(network, inputs, inner, dtype):
    """Blind mean and logarithm of the spread of the inner part of a tile."""
    return blind_moments(network.predict(inputs, inner, dtype))


def _predict_orientations(network, inputs, inner, dtype=torch.float32):
    """The same as a mean over all orientations; their scatter adds to the spread."""
    means, log_spreads = [], []
    # The hole turns with the image, where it is no square.
    for turn in (range(4) if network.hole[0] == network.hole[1] else (0, 2)):
        for flip in [], [3]:
            output = network.predict(torch.rot90(inputs, turn, dims=(2, 3)).flip(flip), dtype=dtype)
            mean, log_spread = blind_moments(torch.rot90(output.flip(flip), -turn, dims=(2, 3))[:, :, *inner])
            means.append(mean)
            log_spreads.append(log_spread)
    means, log_spread = torch.stack(means), torch.stack(log_spreads).mean(dim=0)
    return means.mean(dim=0), 0.5 * torch.log(torch.exp(2 * log_spread) + means.var(dim=0, correction=0))


def _keep_counts(image, mean, std, returned):
    """Keep the sum of the counts of few photons; the pixels that are known worst give way, but those as measured."""
    def weight(rows):
        return np.where(image.valid[rows] & ~returned[rows], np.square(std[rows], dtype=float), 0)

    parts = row_blocks(len(mean), _ROWS)
    missing = sum(np.sum(values[rows][image.valid[rows]], dtype=float) * sign
                  for rows in parts for values, sign in ((image.data, 1), (mean, -1)))
    variance = sum(weight(rows).sum() for rows in parts)
    if variance > 0:
        for rows in parts:
            mean[rows] += (missing / variance * weight(rows)).astype(mean.dtype)


def _with_rounding(own, part):
    """Add the rounding error that neighbours of one level share, which no average of them removes."""
    std, noise = part['std'], part['noise_std']
    larger = np.hypot(std, own.noise.rounding_error(part['mean']))
    # The noise of a pixel has it in it already: no error of what was measured is larger.
    return np.where(own.valid, np.minimum(larger, np.maximum(std, noise)), larger)


def _return_as_measured(image, rows, part, returned):
    """Put the data and their own noise where noise does not explain the result."""
    if not returned.any():
        return
    own = image.part(rows, slice(0, image.shape[1]))
    data = own.data[returned]
    part['mean'][returned] = data
    noise = own.noise.at(own.shape, *np.nonzero(returned))
    # A blind mean that is not finite says nothing of the photons.
    part['std'][returned] = np.sqrt(noise.variance(np.fmax(data, part['blind_mean'][returned])))


def _is_doubtful(prediction):
    """Check if innovations or the audit contradict a prediction."""
    grave = prediction.audit is not None and prediction.audit.worst in ('warning', 'refusal')
    return grave or abs(prediction.recalibration.innovation_rms - 1) > _DOUBTFUL


def _gravity(prediction):
    """Order predictions by what speaks against them."""
    audit = prediction.audit
    found = (0, 0) if audit is None else (severity(audit), len(audit.findings))
    return *found, abs(prediction.recalibration.innovation_rms - 1)


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
    scaling : Normalization
        Background and sky noise that were used.
    recalibration : Recalibration
        What the innovations said.
    n_rejected : int
        Number of pixels whose measurement was replaced, with ``reject_outliers``.
    audit : `~astropy_n2v.audit.AuditReport` or None
        What the data say of the result.
    whitening : Whitening or None
        The filter that made correlated noise white. If there was one, blind mean and spread, innovation and outlier
        are those of the whitened image.
    precision : {'float32', 'bfloat16'}
        Numbers in which the network predicted.
    """

    mean: np.ndarray
    std: np.ndarray
    blind_mean: np.ndarray = None
    blind_std: np.ndarray = None
    innovation: np.ndarray = None
    outlier: np.ndarray = None
    noise_std: np.ndarray = None
    scaling: Normalization = None
    recalibration: Recalibration = None
    n_rejected: int = 0
    audit: AuditReport = None
    whitening: Whitening = None
    precision: str = 'float32'


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
    def whitens(self):
        """True if the model is to see whitened images: it was trained on white noise, or on noise made white."""
        return bool(self.metadata.get('whitened', False))

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

    def _predict_blind(self, image, **options):
        """Predict blind mean and spread of an image, in units of its sky noise, float32."""
        mean, spread = self._predict_tiles(image, **options)
        noisy = image.unsupported()
        while noisy is not None:
            # Parts of a mosaic that are far noisier than the rest: once more, on the scale of their own noise.
            again = image.on_scale(image.noise_scale(noisy))
            factor = np.float32(again.scaling.scale / image.scaling.scale)
            for values, new in zip((mean, spread), self._predict_tiles(again, **options)):
                values[noisy] = factor * new[noisy]
            left = again.unsupported()
            noisy = None if left is None else left & noisy
            noisy = None if noisy is None or not noisy.any() else noisy
        bound_prediction(image, mean, spread)
        return mean, spread

    def _predict_tiles(self, image, *, tile_size, device, dtype=torch.float32, predict_tile=_predict_tile,
                       progress=None):
        """Predict an image tile by tile."""
        mean, spread = (np.zeros(image.shape, dtype=np.float32) for _ in range(2))
        tiling = Tiling(image.shape, tile_size, self.margin, alignment=self.network.alignment)
        network = self.network.to(device)
        for i, tile in enumerate(tiling):
            inputs = _inputs(image.part(tile.y, tile.x), (tile.y.stop - tile.y.start, tile.x.stop - tile.x.start))
            with torch.inference_mode():
                blind, log_spread = predict_tile(network, inputs.to(device), tile.inner, dtype)
                blind, deviation = blind[0, 0].cpu().numpy(), log_spread.exp()[0, 0].cpu().numpy()
            target = mean[tile.inner_y, tile.inner_x]
            cut = (slice(target.shape[0]), slice(target.shape[1]))
            weight = tile.weight[tile.inner][cut]
            target += weight * blind[cut]
            spread[tile.inner_y, tile.inner_x] += weight * deviation[cut]
            if progress:
                progress((i + 1) / len(tiling))
        return mean, spread

    def predict(self, data, noise=None, mask=None, *, held_out=None, calibrate=True, strength=1.0,
                reject_outliers=False, audit=True, whiten=None, tile_size=None, device=None, progress=None,
                full_output=True):
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
        held_out : array_like of bool, optional
            True for pixels that may judge the prediction: those that the model was not trained
            on, where it was trained on this very image. By default all. Of a model that was trained
            on nothing else, the prediction is then a mean over all orientations of the image, and
            its spread is that of its errors where the result is observed again (parametric bootstrap).
        calibrate : bool, optional
            Whether to correct the blind prediction by what the innovations say.
        strength : float, optional
            From 0 (the data) to 1 (the posterior).
        reject_outliers : bool, optional
            Whether single pixels that no point-spread function of the image can have made become the
            prediction from their surroundings.
        audit : bool, optional
            Whether to check the result against the data. Pixels that the noise does not explain are
            then returned as measured, and an uncertainty that is found to be too small is enlarged.
        whiten : bool, optional
            If true, whiten the noise where its autocorrelation, an attribute of ``noise``, is not 1 at lag 0 and 0
            elsewhere. Blind mean, its spread, innovations and outliers are then those of the whitened image. By default
            if the model was trained on whitened images, see `whitens`.
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
        if mask is not None:
            if np.shape(mask) != data.shape:
                raise ValueError(f'mask must have the shape of data, {data.shape}, got {np.shape(mask)}')
            mask = np.asarray(mask, dtype=bool)
        if not np.any(np.isfinite(data) if mask is None else np.isfinite(data) & ~mask):
            raise ValueError('data has no valid pixel: all are masked or not finite')
        if noise is None:
            noise = estimate_noise(data, mask)
        noise.check_shape(data.shape)
        image = NormalizedImage.prepare(data, noise, mask)
        rejected = None
        if reject_outliers:
            rejected = single_pixel_outliers(image)
            image = image.without(rejected)
        options = {'held_out': held_out, 'calibrate': calibrate, 'strength': strength, 'audit': audit,
                   'tile_size': tile_size, 'device': device, 'progress': progress, 'full_output': full_output,
                   'dtype': dtype}
        whitened = whiten_image(image) if (self.whitens if whiten is None else whiten) else None
        result = self._posterior(image, **options) if whitened is None else self._posterior_of(whitened, **options)
        if whitened is not None and _is_doubtful(result):
            # Structure that passes for correlated noise makes the filter a wrong one.
            result = min(result, self._posterior(image, **options), key=_gravity)
            if result.whitening is None:
                log.info('the noise is not whitened: the data contradict the autocorrelation that was measured')
        if rejected is not None:
            result.n_rejected = int(np.count_nonzero(rejected))
            if full_output:
                result.outlier[rejected] = 1
        return result

    def _posterior_of(self, whitened, *, held_out, strength, full_output, dtype, **options):
        """Predict a whitened image, and bring it back."""
        white = self._posterior(whitened.white, whitened=whitened, held_out=whitened.outside(held_out), strength=1.0,
                                full_output=True, dtype=np.float32, **options)
        return whitened.prediction(white, strength=strength, full_output=full_output, dtype=dtype)

    def _posterior(self, image, *, whitened=None, held_out, calibrate, strength, audit, tile_size, device, progress,
                   full_output, dtype):
        """Predict an image and combine the prediction with the data."""
        # A network that has seen nothing but this image scatters, from orientation to orientation and pixel to pixel.
        scatters = held_out is not None and 'init_sha256' not in self.metadata
        device = select_device(device)
        options = {'tile_size': conf.tile_size if tile_size is None else tile_size, 'device': device,
                   'dtype': select_dtype(device),
                   'predict_tile': _predict_orientations if scatters else _predict_tile}
        # The bootstrap predicts a cut-out twice more.
        share = 1 / (1 + 2 * min(1, BOOTSTRAP_SIZE ** 2 / image.data.size)) if scatters else 1.0
        report = progress and (lambda fraction: progress(share * fraction))
        blind = self._predict_blind(image, progress=report, **options)
        if whitened is not None:
            image = whitened.with_signal(blind[0])
        if scatters:
            blind = blind[0], bootstrap_spread(image, *blind, self.hole,
                                               lambda again: self._predict_blind(again, **options))
            if progress:
                progress(1.0)
        else:
            blind = blind[0], even_spread(image, *blind)
        recalibration = recalibrate(image, *blind, held_out)
        # Noise that was whitened shares with its neighbours what the autocorrelation was measured wrong by, which is as
        # much as an empty sky lacks.
        if held_out is None and self.hole == (1, 1) and whitened is None:
            recalibration = replace(recalibration, blank_sky=variance_factor(image, *blind, recalibration))

        names = ('mean', 'std', 'blind_mean', 'blind_std', 'innovation', 'outlier', 'noise_std')
        result = {name: np.empty(image.shape, dtype=dtype) for name in (names if full_output else names[:2])}
        outlier_share = recalibration.outlier_share if calibrate else BROAD_WEIGHT
        auditor = None
        if audit:
            auditor = Auditor(image, strength=strength, held_out=held_out, outlier_share=outlier_share)
        returned = np.zeros(image.shape, dtype=bool)
        for rows in row_blocks(image.shape[0], _ROWS):
            part = posterior_of_rows(image, *blind, rows, recalibration=recalibration if calibrate else None,
                                     strength=strength)
            if auditor is not None:
                returned[rows] = auditor.rows(rows, part)
                _return_as_measured(image, rows, part, returned[rows])
            if np.any(image.noise.quantum):
                # After the audit: the noise that is removed is smaller by the error of the prediction, not by this.
                part['std'] = _with_rounding(image.part(rows, slice(0, image.shape[1])), part)
            for name, values in result.items():
                values[rows] = part[name]
        if image.scaling.few_photons and strength > 0:
            _keep_counts(image, result['mean'], result['std'], returned)
        report = None
        if auditor is not None:
            # Of whitened noise, the autocorrelation is not known well enough to tell faint light from it.
            correlation = None if whitened is None else _WHITE
            report = auditor.report(recalibration=recalibration if calibrate else None, hole=self.hole,
                                    correlation=correlation)
            result['std'] = report.enlarge(result['mean'], result['std'], keep=returned)
        return Prediction(**result, scaling=image.scaling, recalibration=recalibration, audit=report,
                          precision=str(options['dtype']).removeprefix('torch.'))

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
        with atomic_write(path, overwrite=overwrite) as temporary:
            temporary.write_bytes(raw)

    @classmethod
    def load(cls, path):
        """
        Read a model. Nothing in the file is ever executed.

        Parameters
        ----------
        path : str or path-like
            File that `save` wrote, or the name of a model that is shipped with the package:
            'default', or one of those that ``astropy-n2v models`` lists. A file of such a name
            needs its directory, as in './default'.

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
        >>> Denoiser.load('default').hole
        (1, 1)
        """
        name = os.fspath(path)
        found = find_model(name)
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
