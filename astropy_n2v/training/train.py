# Licensed under a 3-clause BSD style license - see LICENSE
"""
Training on a user's own frames, without any clean reference.
"""

import json
import logging
from contextlib import closing

import numpy as np

from ..blind_spot import find_hole, warn_of_patterns
from ..containers.container import Container
from ..denoiser import Denoiser, SelfTrained, select_device
from ..exceptions import CannotDenoiseError
from ..inference.held_out import HeldOut
from ..networks import BlindSpotUNet, isolated_rng
from ..planes import find_planes
from ..utils.checks import check_integer, parse_hole
from ..utils.warn import warn_user
from .checkpoints import training_identity
from .injected_stars import InjectedStars
from .judgement import Judgement, compare_networks
from .loop import Trainer
from .monitor import Monitor
from .options import check_training_options
from .patches import PatchSampler, TrainingFrame
from .processes import Processes

__all__ = ['STAR_SHARE', 'train', 'train_on_frames']

log = logging.getLogger(__name__)

_STEPS = {'scratch': 700, 'init': 100}
# Judgements take time, too, and a short adaptation is to be short.
_JUDGEMENTS = {'scratch': 20, 'init': 5}
#: Share of the time in which stars judge: some hundred stars by default.
STAR_SHARE = 0.05
_MOST_STAR_PIXELS = 2 ** 19   # of a judgement: more would say no more
_STAR_FRAMES = 8     # at equal distances of all, stars are injected into the first that the time allows


def train(images, *, noise=None, gain=None, readnoise=None, mask=None, satlevel=None, init=None, hole=None, names=None,
          seed=None, device=None, progress_bar=False, **options):
    """
    Train a blind-spot network on noisy frames.

    Processes that torchrun started train one network together, and each returns it; all must call this with the same
    images and options.

    Parameters
    ----------
    images : image or list of images
        Frames as `astropy_n2v.denoise` takes them: CCDData, NDData, Quantity or arrays. All
        should have noise of the same kind, that is correlated over the same pixels, if at all.
        Of several, frames that are constant, fully masked or the like are left out with a warning.
    noise, gain, readnoise : optional
        As for `astropy_n2v.denoise`, for all frames.
    mask : array_like of bool, optional
        True where the frames do not count, in addition to their own masks.
    satlevel : optional
        As for `astropy_n2v.denoise`, for all frames.
    init : str, path or Denoiser, optional
        Weights to start from, as for `astropy_n2v.Denoiser.load`; 'default' names the weights
        shipped with the package.
    hole : int or tuple of int, optional
        Odd height and width of the hole; noise is then not whitened. By default a pixel, and noise that is correlated
        is whitened. With ``init`` it must be the hole of ``init``.
    names : list of str, optional
        Names of the images in warnings; by default their positions.
    seed : int, optional
        Seed of weights and patches; by default 0.
    device : str, optional
        By default `astropy_n2v.conf.device`.
    progress_bar : bool or callable, optional
        Whether to show a progress bar on stderr. A function gets lines of text instead, one every ten seconds.
    **options
        Options of `~astropy_n2v.training.train.train_on_frames`: ``max_steps``, ``max_time``, ``patch_size``,
        ``batch_size``, ``learning_rate``, ``patience``, ``min_delta``, ``held_out``, ``star_share``,
        ``amp``, ``checkpoint``, ``log``, ``network_options``.

    Returns
    -------
    Denoiser
        The trained model; its metadata say how, and if it is better than the shipped one at predicting the pixels of
        these frames that were held out (``against_default``). Of a single image it is a
        `~astropy_n2v.denoiser.SelfTrained`, or with ``init`` a model that knows the pixels held out: it denoises this
        very image as `astropy_n2v.denoise` does with ``model='self'``, or ``'adapt'``, of the same seed and options.

    Raises
    ------
    ValueError
        If there is no image, or one that `astropy_n2v.denoise` would not accept.
    CannotDenoiseError
        If none of the images can be denoised.
    TypeError
        If there is no such option.

    See Also
    --------
    astropy_n2v.training.train.train_on_frames : The options, and their defaults.

    Examples
    --------
    >>> from astropy_n2v import train
    >>> from astropy_n2v.simulate import make_scene
    >>> frames = [make_scene('survey', (64, 64), seed=i).observe(seed=i) for i in range(2)]
    >>> denoiser = train(frames, max_steps=2, patch_size=32, batch_size=2)
    >>> denoiser.hole
    (1, 1)
    """
    if not isinstance(images, (list, tuple)):
        images = [images]
    if not images:
        raise ValueError('images must hold at least one image, got none')
    if names is not None and len(names) != len(images):
        raise ValueError(f'names must have one entry for each of the {len(images)} images, got {len(names)}')
    check_training_options(options)
    hole = parse_hole(hole)
    planes, used = [], 0
    for i, image in enumerate(images):
        try:
            found, _ = find_planes(Container(image, mask, satlevel), noise=noise, gain=gain, readnoise=readnoise)
        except CannotDenoiseError as error:
            if len(images) == 1:
                raise
            warn_user(f'{i if names is None else names[i]}: the image is left out: {error}')
            continue
        used += 1
        warn_of_patterns(found, f'{i if names is None else names[i]}: ')
        planes += found
        if hole is None:
            find_hole(found)
    if not planes:
        raise CannotDenoiseError('images must hold at least one that can be denoised, got none')
    init, hole, whiten = find_start(init, hole)
    frames = [(plane.values, plane.noise, plane.mask) for plane in planes]
    denoiser = train_on_frames(frames, init=init, hole=hole, whiten=whiten, seed=seed, device=device,
                               progress_bar=progress_bar, compare=True, processes=Processes.joined(),
                               **{**({'star_share': STAR_SHARE} if used > 1 else {}), **options})
    denoiser.metadata['images'] = used
    # A network that learned from many images scatters little, and any pixel can judge it.
    return denoiser if used == 1 else Denoiser(denoiser.network, denoiser.metadata)


def find_start(init, hole):
    """
    Find the weights to start from, the hole, and whether noise is whitened.

    Parameters
    ----------
    init : str, path, Denoiser or None
        As for `train`.
    hole : tuple of int or None
        Height and width, if they are given.

    Returns
    -------
    init : Denoiser or None
        The weights.
    hole : tuple of int
        Height and width.
    whiten : bool
        True if neither ``hole`` nor ``init`` say otherwise.

    Raises
    ------
    ValueError
        If ``init`` is a model of a classical strategy.
    """
    if init is not None and not isinstance(init, Denoiser):
        init = Denoiser.load(init)
    if init is not None and not init.has_posterior:
        raise ValueError(f'init must be a blind-spot model, got {init!r}, a plain U-Net of a classical strategy')
    whiten = hole is None and (init is None or init.whitens)
    return init, hole or (init.hole if init is not None else (1, 1)), whiten


class _Frames:
    """Frames to train on that are all in memory."""

    def __init__(self, frames):
        self.frames = frames

    def __len__(self):
        return len(self.frames)

    def prepare(self, held_out, rng, whiten):
        """Prepare the frames that judge."""
        self.prepared = [TrainingFrame(*frame, held_out=held_out, rng=rng, whiten=whiten) for frame in self.frames]
        return self.prepared

    def sampler(self, size, batch_size, rng):
        """Make the source of patches."""
        return PatchSampler(self.prepared, size, batch_size, rng)

    def identity(self, **options):
        """Name the data and options that a checkpoint belongs to."""
        return training_identity(self.frames, **options)

    def images(self):
        """Return the images to inject stars into."""
        return self.frames[::max(1, len(self.frames) // _STAR_FRAMES)]

    def held_out(self):
        """Return the pixels of each frame that were not trained on."""
        return HeldOut.of((data, frame.held_out_pixels) for (data, *_), frame in zip(self.frames, self.prepared))


def train_on_frames(frames, *, init=None, hole=(1, 1), whiten=False, seed=None, device=None, progress_bar=False,
                    name=None, compare=False, processes=None, **options):
    """
    Train on frames whose noise is known.

    Parameters
    ----------
    frames : list of tuple, or CollectionFrames
        Image (2-D array), its `~astropy_n2v.NoiseModel`, and its mask or None; or a source of frames that do not fit
        into memory.
    init : Denoiser, optional
        Model whose weights to start from. The result is never worse than it on the pixels held
        out.
    hole : tuple of int, optional
        Height and width of the hole.
    whiten : bool, optional
        If true, whiten the noise where it is correlated.
    seed : int, optional
        Seed of weights and patches; by default 0. On one machine the same seed gives the same
        weights, up to rounding errors if several threads train at once.
    device : str, optional
        By default `astropy_n2v.conf.device`.
    progress_bar : bool or callable, optional
        Whether to show a progress bar on stderr. A function gets lines of text instead, one every ten seconds.
    name : str, optional
        Name of the model; by default 'trained', or 'adapted' with ``init``.
    compare : bool, optional
        Whether to compare the model with the shipped one on the pixels that are held out, if it has the same hole. The
        metadata have the sentence that says if it is better, ``against_default``, and the log, too.
    processes : Processes, optional
        Processes that train the network together, each on patches of its own from all frames. By default this one
        alone.
    max_steps : int, optional
        Number of steps; by default 700, or 100 with ``init``.
    max_time : float, optional
        Seconds after which training ends. Where time is what ends it, weights are not
        repeatable.
    patch_size, batch_size : int, optional
        Height and width of patches, by default 96 pixels, and their number in a step, by default 8. Several processes
        share this number, rounded up to a multiple of theirs.
    learning_rate : float, optional
        Peak learning rate; by default 4e-3, or 3e-4 with ``init``.
    patience : int or None, optional
        Stop after that many judgements without improvement, by default 8, of 20 in a training or 5 with ``init``.
    min_delta : float, optional
        Improvement of the held-out negative log-likelihood that counts as such; by default 1e-4.
    held_out : float, optional
        Fraction of the pixels that judge and are not trained on; by default 0.1.
    star_share : float, optional
        Share of the time of training in which stars of known flux that are injected judge, together with the
        likelihood; by default 0.05, or 0 for a single image. Without as much time as a part of 128 pixels on a side
        takes there are no stars.
    amp : {'auto', 'float32', 'bfloat16', 'float16'}, optional
        Numbers in which the network is trained, but for its head and the last quarter of the training, see
        `~astropy_n2v.training.mixed_precision.MixedPrecision`. 'auto', the default, is bfloat16 where the device has
        it, else float32.
    checkpoint : path, optional
        File to save the state of the training to, and to resume from where it exists. It must be
        of the same data and options; budget (``max_steps``, ``max_time``) and stopping
        (``patience``, ``min_delta``) may differ, and the same call goes on with what is left of the budget. It is
        saved at least every two minutes, and when Ctrl-C or SIGTERM ends the training
        (``TrainingInterrupted``, a KeyboardInterrupt). With a budget in steps the
        weights are as from a training that was not interrupted.
    log : path, optional
        CSV file to write: steps, seconds, likelihoods and learning rate, see
        ``Monitor``. Learning curves are drawn beside it.
    network_options : dict, optional
        Options of `~astropy_n2v.networks.BlindSpotUNet`.

    Returns
    -------
    Denoiser
        The trained model, with the pixels of the frames that were held out; without ``init``
        a `~astropy_n2v.denoiser.SelfTrained`.

    Raises
    ------
    TypeError
        If there is no such option.
    ValueError
        If an option is out of its range, ``checkpoint`` is damaged or of another training, or frames and options are
        not the same in all processes.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy_n2v import NoiseModel
    >>> from astropy_n2v.training.train import train_on_frames
    >>> frame = np.random.default_rng(0).normal(100, 5, (64, 64)), NoiseModel(5.0), None
    >>> model = train_on_frames([frame], max_steps=2, patch_size=32, batch_size=2)
    >>> model.name
    'trained'
    """
    options = check_training_options(options)
    held_out, patch_size, batch_size, checkpoint = (options[name] for name in (
        'held_out', 'patch_size', 'batch_size', 'checkpoint'))
    processes = processes or Processes()
    seed = check_integer('seed', seed, 0) or 0
    rng = np.random.default_rng(seed)
    source = _Frames(frames) if isinstance(frames, list) else frames
    prepared = source.prepare(held_out, rng, whiten)
    if not any(bool(frame.held_out.any()) for frame in prepared):
        raise ValueError(f'held_out must leave some pixels to judge by, got {held_out}, which leaves none')
    network = _make_network(init, hole, seed, options['network_options'])
    network.to(select_device(device))
    # A frame smaller than a patch is seen whole, with a border.
    size = min(patch_size, max(max(frame.planes.shape[1:]) for frame in prepared))
    size = -(-size // network.alignment) * network.alignment
    if patch_size < network.alignment:
        raise ValueError(f'patch_size must be at least {network.alignment} pixels, got {patch_size}')
    kind = 'scratch' if init is None else 'init'
    max_steps = options['max_steps'] or _STEPS[kind]
    judge_every = max(max_steps // _JUDGEMENTS[kind], 1)
    share, pixels = options['star_share'] or 0.0, size ** 2 * batch_size   # of a step
    stars = _inject_stars(source, whiten, share * pixels * judge_every, [seed, 1]) if processes.first else None
    if processes.rank > 0:
        rng = np.random.default_rng((seed, processes.rank))
    trainer = Trainer(
        network, source.sampler(size, -(-batch_size // processes.size), rng), max_steps=max_steps,
        max_time=options['max_time'], learning_rate=options['learning_rate'] or (4e-3 if init is None else 3e-4),
        patience=options['patience'], min_delta=options['min_delta'],
        judge=(lambda candidate: Judgement.of(candidate, prepared, stars)) if processes.first else None,
        judge_every=judge_every, warm_start=init is not None, amp=options['amp'], processes=processes)
    identity = None if checkpoint is None and processes.size == 1 else source.identity(
        hole=tuple(int(n) for n in hole), init=None if init is None else init.sha256, patch_size=size,
        batch_size=batch_size, learning_rate=trainer.learning_rate, held_out=held_out, seed=seed, whiten=whiten,
        star_share=share, amp=options['amp'], processes=processes.size,
        network=json.dumps(network.config, sort_keys=True))
    with closing(trainer.sampler), Monitor(trainer, show=progress_bar if processes.first else False,
                                           log=options['log'] if processes.first else None) as trainer.progress:
        trainer.run(checkpoint=checkpoint, identity=identity)
    metadata = {'name': name or ('trained' if init is None else 'adapted'), 'frames': len(source), 'seed': seed,
                **_metadata(trainer, init, whiten)}
    if compare and processes.first:
        # Other stars than those that have chosen the weights.
        stars = _inject_stars(source, whiten, share * pixels * trainer.step, [seed, 2])
        _compare_with_default(network, prepared, stars, metadata)
    # Only the first process has judged.
    metadata = processes.gather(metadata)[0]
    held_out = source.held_out()
    kind = SelfTrained if init is None and held_out is not None else Denoiser
    return kind(network.cpu(), metadata, held_out=held_out)


def _inject_stars(source, whiten, pixels, seed):
    """Inject stars into the frames that judge, as many as may be denoised in the time of so many pixels of training."""
    return InjectedStars(source.images(), whiten=whiten, pixels=min(int(pixels), _MOST_STAR_PIXELS), seed=seed)


def _metadata(trainer, init, whiten):
    """Say how a network was trained, and how good it was judged."""
    metadata = {'steps': trainer.step}
    for name, value in (trainer.best_figures or {}).items():
        metadata['held_out_likelihood' if name == 'held_out' else f'star_{name}'] = value
    if init is not None:
        metadata['init_sha256'] = init.sha256
    if whiten:
        metadata['whitened'] = True
    if trainer.processes.size > 1:
        metadata['processes'] = trainer.processes.size
    return metadata


def _compare_with_default(network, frames, stars, metadata):
    """Note if a network is better than the shipped one on held-out pixels; with another hole, they say nothing."""
    default = Denoiser.load('default')
    comparison = compare_networks(network, default.network.to(next(network.parameters()).device), frames, stars) \
        if tuple(network.hole) == default.hole else None
    if comparison is not None:
        metadata['against_default'] = comparison.describe('default')
        log.info('the model is %s', metadata['against_default'])


def _make_network(init, hole, seed, options):
    if init is not None:
        if tuple(hole) != tuple(init.hole):
            raise ValueError(f'hole must be {init.hole}, as of init, got {hole}')
        if options:
            raise ValueError(f'network_options must not be given with init, which has its own, got {options}')
        with isolated_rng(seed):
            network = BlindSpotUNet(**init.network.config, hole=init.hole)
        network.load_state_dict(init.network.state_dict())
        return network
    with isolated_rng(seed):
        return BlindSpotUNet(hole=hole, **(options or {}))
