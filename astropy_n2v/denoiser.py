# Licensed under a 3-clause BSD style license - see LICENSE
"""
`Denoiser`: a network applied to arrays.

``inference/pipeline.py`` has the steps; ``denoising.py`` is the same for containers.
"""

import hashlib
import json
import os
from dataclasses import replace

import numpy as np
import torch

from .config import conf
from .inference.blind_prediction import BlindPredictor, BootstrapPredictor
from .inference.export import onnx_model
from .inference.normalization import NormalizedImage
from .inference.outliers import single_pixel_outliers
from .inference.pipeline import infer, infer_whitened
from .inference.plain import LinearScale, predict_plain
from .inference.prediction import Prediction
from .inference.recalibration import Recalibration
from .inference.whitened_image import whiten_image
from .networks import UNet
from .networks.precision import select_dtype
from .noise import estimate_noise
from .utils.atomic_files import atomic_write
from .utils.checks import check_executor
from .weights import check_integrity, find_model, model_names
from .weights.shipped import read_checksums
from .weights.storage import parse, serialize

__all__ = ['ClassicalDenoiser', 'Denoiser', 'Prediction', 'SelfTrained', 'select_device']


def select_device(device=None):
    """
    Convert the name of a device to a device.

    Parameters
    ----------
    device : str or `torch.device`, optional
        'auto' is a GPU if there is one; None uses ``conf.device``.

    Returns
    -------
    `torch.device`
        The device.

    Raises
    ------
    ValueError
        If the device does not exist.
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


class Denoiser:
    """
    A trained blind-spot network.

    Parameters
    ----------
    network : BlindSpotUNet
        The network.
    metadata : dict, optional
        Information on the model; must be representable as JSON. It is written to files. Two entries control the use of
        the network: ``whitened`` and ``margin``, see the attributes.
    name : str, optional
        Name of the model in headers of results; by default the ``name`` in ``metadata``, else 'custom'.
    held_out : HeldOut, optional
        Pixels of training frames that the model was not trained on: only these judge its predictions of these
        frames.

    Attributes
    ----------
    whitens : bool
        True if the model expects whitened images: it was trained on white noise, or on whitened noise.
    margin : int
        Width in pixels of the border at interior edges of a tile where the prediction is not used.

    See Also
    --------
    astropy_n2v.train : Train a model.
    astropy_n2v.denoise : Apply a model to CCDData and other containers.

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

    #: True if results have an uncertainty.
    has_posterior = True
    #: Planes of an image that the network sees together.
    channels = 1

    def __init__(self, network, metadata=None, *, name=None, held_out=None):
        self.network = network.eval()
        self.metadata = dict(metadata or {})
        self.name = str(self.metadata.get('name', 'custom') if name is None else name)
        self.held_out = held_out
        self.whitens = bool(self.metadata.get('whitened', False))
        self.margin = int(self.metadata.get('margin', network.receptive_radius))
        self._sha256 = None
        self._dtype = 'float32'

    @property
    def hole(self):
        """Height and width of the hole around each pixel, on which its prediction does not depend."""
        return self.network.hole

    @property
    def sha256(self):
        """SHA-256 of the file that the model was loaded from, or else of the file that `save` writes."""
        if self._sha256 is None:
            self._sha256 = hashlib.sha256(self._serialize(self._dtype)).hexdigest()
        return self._sha256

    def _serialize(self, dtype):
        return serialize(self.network, self.metadata, dtype, held_out=self.held_out,
                         self_trained=isinstance(self, SelfTrained))

    def __repr__(self):
        return f'<{type(self).__name__} {self.name!r}, hole {self.hole[0]}x{self.hole[1]}, sha256 {self.sha256[:12]}>'

    def predict(self, data, noise=None, mask=None, *, held_out=None, calibrate=True, strength=1.0,
                reject_outliers=False, audit=True, whiten=None, tile_size=None, device=None, progress=None,
                full_output=True, executor=None):
        """
        Denoise an array.

        Parameters
        ----------
        data : array_like
            Image of shape (ny, nx); non-finite pixels count as masked.
        noise : NoiseModel, optional
            Its noise, in data units; by default it is estimated from the image.
        mask : array_like of bool, optional
            True where the data do not count: the posterior is the blind prediction there.
        held_out : array_like of bool, optional
            True for pixels that may judge the prediction: pixels that the model was not trained on, if it was trained
            on this very image. By default the ones that the model knows of, else all.
        calibrate : bool, optional
            If true, correct the blind prediction by the innovations.
        strength : float, optional
            From 0 (the data) to 1 (the posterior).
        reject_outliers : bool, optional
            If true, replace single pixels that are not compatible with the point-spread function of the image
            by the prediction from their surroundings.
        audit : bool, optional
            If true, check the result against the data. Pixels that the noise does not explain are then returned as
            measured, and an uncertainty that is too small is enlarged.
        whiten : bool, optional
            If true, whiten the noise where its autocorrelation, an attribute of ``noise``, is not 1 at lag 0 and 0
            elsewhere. Blind mean, its spread, innovations and outliers then refer to the whitened image. By default
            true if the model was trained on whitened images, see ``whitens``.
        tile_size : int, optional
            Largest height and width of the parts in which a large image is processed; by
            default ``conf.tile_size``.
        device : str or `torch.device`, optional
            Device of the computation; by default ``conf.device``. If its memory does not suffice, smaller tiles are
            tried, and then the CPU.
        progress : callable, optional
            Called with the fraction done.
        full_output : bool, optional
            If true, keep more than mean and standard deviation.
        executor : concurrent.futures.Executor, optional
            Predicts the tiles of the image in place of this process; see `astropy_n2v.denoise`.

        Returns
        -------
        Prediction
            Float64 arrays if ``data`` is float64, else float32.

        Raises
        ------
        ValueError
            If ``data`` is not two-dimensional, shapes do not agree, or no pixel is valid.
        """
        check_executor(executor)
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
        if held_out is None and self.held_out is not None:
            held_out = self.held_out.find(data)
        device = select_device(device)
        if executor is not None:
            device = torch.device('cpu')   # its workers use their processors
        predictor = self._predictor(held_out, tile_size=conf.tile_size if tile_size is None else tile_size,
                                    device=device, dtype=select_dtype(device), progress=progress, executor=executor)
        options = {'held_out': held_out, 'calibrate': calibrate, 'strength': strength, 'audit': audit,
                   'full_output': full_output, 'dtype': dtype}
        whitened = whiten_image(image) if (self.whitens if whiten is None else whiten) else None
        if whitened is None:
            result = infer(image, predictor, **options)
        else:
            result = infer_whitened(whitened, predictor, **options)
        result = replace(result, device=str(predictor.device))   # where memory sufficed
        if rejected is None:
            return result
        if full_output:
            result.outlier[rejected] = 1
        return replace(result, n_rejected=int(np.count_nonzero(rejected)))

    def _predictor(self, held_out, **options):
        """Return the function that applies the network to an image."""
        return BlindPredictor(self.network, self.margin, **options)

    def save(self, path, *, overwrite=False, dtype=None):
        """
        Write the model to a file: weights as safetensors, everything else as JSON in its header.

        Parameters
        ----------
        path : str or path-like
            File to write. It appears only when it is complete.
        overwrite : bool, optional
            If true, replace an existing file.
        dtype : {'float32', 'float16'}, optional
            Type of the weights in the file. 'float16' halves the file and rounds the weights to one part in 2000, in
            the file only: `load` always converts them to float32, in which the network is computed. By default the type
            of the file that the model was loaded from, else 'float32'.

        Raises
        ------
        FileExistsError
            If the file exists and ``overwrite`` is false.
        OSError
            If it cannot be written.
        ValueError
            If ``dtype`` is unknown, or a weight is beyond its range.

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
        # Before the file is created: weights may be out of range.
        raw = self._serialize(self._dtype if dtype is None else dtype)
        with atomic_write(path, overwrite=overwrite) as temporary:
            temporary.write_bytes(raw)

    def export_onnx(self, path, *, license=None, overwrite=False):
        """
        Write the network to an ONNX file, for programs without torch; it needs the extra ``onnx``.

        The file holds the step from a normalised image to the mean and spread of each pixel given its surroundings.
        Inputs are ``z`` (image minus background, in units of the sky noise), ``valid`` (1 where the pixel counts), and
        ``v0``, ``slope`` and ``zero`` of the noise; outputs are ``mean`` and ``spread`` in the same units, all float32
        of shape (1, 1, height, width). Both sizes must be multiples of ``alignment``, which is in the metadata, as are
        ``hole``, ``margin``, ``sha256`` and ``license``. The posterior is made of them by `predict`.

        Parameters
        ----------
        path : str or path-like
            File to write, such as ``model.onnx``.
        license : str, optional
            Licence of the model, for the metadata. By default the ``license`` in ``metadata``; else the licence of the
            package for the models that are shipped with it, and 'not stated' for others.
        overwrite : bool, optional
            Whether to replace an existing file.

        Raises
        ------
        FileExistsError
            If the file exists and ``overwrite`` is false.
        ImportError
            If onnx or onnxscript are not installed.
        """
        shipped = self.sha256 in read_checksums().values()
        license = license or self.metadata.get('license') or ('BSD-3-Clause' if shipped else 'not stated')
        cards = {'license': license, 'name': self.name, 'sha256': self.sha256, 'hole': json.dumps(list(self.hole)),
                 'margin': str(self.margin), 'alignment': str(self.network.alignment),
                 'whitened': json.dumps(self.whitens)}
        with atomic_write(path, overwrite=overwrite) as temporary:
            temporary.write_bytes(onnx_model(self.network.cpu(), cards))

    @classmethod
    def load(cls, path):
        """
        Read a model. Nothing in the file is ever executed.

        Parameters
        ----------
        path : str or path-like
            File that `save` wrote, or the name of a model that is shipped with the package: 'default', or a name that
            ``astropy-n2v models`` lists. A file with such a name needs its directory, as in './default'.

        Returns
        -------
        Denoiser
            The model.

        Raises
        ------
        FileNotFoundError
            If neither a file nor a shipped model of that name exists.
        ValueError
            If the file is truncated, is not a model of this package, or holds another architecture, or if a shipped
            model was modified.

        Examples
        --------
        >>> from astropy_n2v import Denoiser
        >>> Denoiser.load('default').hole
        (1, 1)
        """
        path = os.fspath(path)
        shipped = find_model(path)
        if shipped is None and not os.path.lexists(path):
            raise FileNotFoundError('model must be a file, or a model that is shipped with the package (default, '
                                    f'{", ".join(model_names())}), got {path!r}: there is no such file')
        # The name of a file is the name of the model.
        path, name = (path, os.path.basename(path)) if shipped is None else (shipped, None)
        with open(path, 'rb') as file:
            raw = file.read()
        sha256 = check_integrity(path, raw)
        stored = parse(raw, path)
        kind = ClassicalDenoiser if isinstance(stored.network, UNet) else \
            SelfTrained if stored.self_trained else Denoiser
        denoiser = kind(stored.network, stored.metadata, name=name, held_out=stored.held_out)
        denoiser._sha256, denoiser._dtype = sha256, stored.dtype
        return denoiser


class SelfTrained(Denoiser):
    """
    A network that was trained on only the frame that it denoises.

    Its predictions scatter between orientations of the image and from pixel to pixel. The prediction of a training
    frame is therefore a mean over all orientations. Its spread is from the errors in repeated observations of the
    result (parametric bootstrap), and the pixels that were held out of training judge it. Training frames are
    recognised by their values. Any other image is denoised as by a plain `Denoiser`.

    Parameters
    ----------
    network : BlindSpotUNet
        The network.
    metadata, name, held_out : optional
        See `Denoiser`.

    See Also
    --------
    astropy_n2v.train : Train a model on a single image.

    Examples
    --------
    >>> from astropy_n2v import train
    >>> from astropy_n2v.simulate import make_scene
    >>> frame = make_scene('survey', (64, 64), seed=1).observe(seed=2)
    >>> model = train(frame, max_steps=2, patch_size=32, batch_size=2)
    >>> type(model).__name__, model.held_out.find(frame.data).shape
    ('SelfTrained', (64, 64))
    """

    def _predictor(self, held_out, **options):
        """Return the function that applies the network to an image."""
        kind = BlindPredictor if held_out is None else BootstrapPredictor
        return kind(self.network, self.margin, **options)


class ClassicalDenoiser(Denoiser):
    """
    A plain U-Net that was trained by a classical strategy, see `~astropy_n2v.training.classical.train_classical`.

    Its result is its prediction alone: there is no posterior, and no uncertainty.

    Parameters
    ----------
    network : UNet
        The network.
    metadata : dict
        As for `Denoiser`; ``scale`` are mean and standard deviation of the pixels that it was trained on, of several
        channels a list of each; ``hole`` are height and width of the mask under which pixels were hidden.
    name : str, optional
        As for `Denoiser`.
    held_out : None
        Not used.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v.denoiser import ClassicalDenoiser
    >>> from astropy_n2v.networks import UNet
    >>> model = ClassicalDenoiser(UNet(levels=2, base=4), {'scale': [100.0, 5.0]})
    >>> bool(np.isnan(model.predict(np.full((16, 16), 100.0) + np.eye(16)).std).all())
    True
    """

    has_posterior = False

    @property
    def hole(self):
        """Height and width of the mask under which pixels were hidden in training."""
        return tuple(self.metadata.get('hole', (1, 1)))

    @property
    def channels(self):
        """Return the planes of an image that the network sees and predicts together."""
        return self.network.config['in_channels']

    def export_onnx(self, path, **options):
        """Raise `NotImplementedError`: only blind-spot networks are exported."""
        raise NotImplementedError('export_onnx() is for blind-spot networks, not for classical ones')

    def predict(self, data, noise=None, mask=None, *, strength=1.0, tile_size=None, device=None, progress=None,
                full_output=True, **options):
        """
        Denoise an array.

        Parameters
        ----------
        data, noise, mask, strength, tile_size, device, progress, full_output : optional
            As for `Denoiser.predict`; the noise is only recorded. For a model of several channels, ``data`` and
            ``mask`` have the shape (channels, ny, nx), and the noise describes the first.
        **options
            Other options of `Denoiser.predict`, which need a posterior and change nothing.

        Returns
        -------
        Prediction
            Its mean is the prediction; all other planes are NaN.

        Raises
        ------
        ValueError
            If ``data`` does not have the channels of the model, or no pixel is valid.
        """
        data = np.asarray(data)
        if self.channels > 1 and (data.ndim != 3 or len(data) != self.channels):
            raise ValueError(f'data must have the shape ({self.channels}, ny, nx), as the model has {self.channels} '
                             f'channels, got {data.shape}')
        if self.channels == 1 and data.ndim != 2:
            raise ValueError(f'data must be two-dimensional, got {data.ndim} dimensions')
        data = data.astype(np.float64 if data.dtype == np.float64 else np.float32)
        valid = np.isfinite(data) if mask is None else np.isfinite(data) & ~np.asarray(mask, dtype=bool)
        if not valid.any():
            raise ValueError('data has no valid pixel: all are masked or not finite')
        first, bad = (plane.reshape(-1, *data.shape[-2:])[0] for plane in (data, ~valid))
        scaling = NormalizedImage.prepare(first, estimate_noise(first, bad) if noise is None else noise, bad).scaling
        scale = LinearScale(*(np.reshape(value, (-1, 1, 1)) if self.channels > 1 else value
                              for value in self.metadata['scale']))
        mean = predict_plain(self.network, scale, data, valid,
                             tile_size=conf.tile_size if tile_size is None else tile_size,
                             device=select_device(device), progress=progress)
        mean[valid] = ((1 - strength) * data + strength * mean)[valid]
        result = Prediction.empty(data.shape, data.dtype, full_output)
        return replace(result, mean=mean, scaling=scaling, recalibration=Recalibration.neutral())
