# Licensed under a 3-clause BSD style license - see LICENSE
"""
Noise2Void and N2V2 of this package against those of CAREamics: ``python benchmarks/careamics_n2v.py``.

Both train a U-Net of as many levels and channels on the same frame, with batches of 16 patches of 64x64 pixels, as many
steps, and their own defaults otherwise; then they denoise the frame. The data are not transformed for either. Noise is
known to neither. On simulated frames the result is compared with the truth. A real exposure is compared with the two
halves of the other exposures, which no training sees, as in ``exposures.py``.

CAREamics needs an environment of its own, see ``careamics-requirements.txt``; CAREAMICS_PYTHON names its Python, and
ASTROPY_N2V_TEST_DATA the folder of the real images. Writes ``results/careamics_n2v.csv`` and
``results/careamics_n2v_exposures.csv``; rows of other frames stay.
"""

import resource
import warnings

import numpy as np
from astropy.utils.exceptions import AstropyUserWarning
from common import Recorder, make_frame, parse, real_images
from exposures import FIELDS, interval, measure_exposure
from peers import train_careamics
from quality import classes

from astropy_n2v.training.classical import train_classical
from astropy_n2v.validation import mean_offset, noise_reduction

__all__ = ['METHODS', 'compare_exposure', 'compare_scene', 'main', 'processor_seconds']

_BATCH, _PATCH = 16, 64
#: Method: whose, and the strategy.
METHODS = {f'{whose} {strategy}': (whose, strategy) for whose in ('ours', 'careamics') for strategy in ('n2v', 'n2v2')}
# Seeds of scenes that nothing else uses.
_FIRST_SEED = 8600
#: Exposure of each field that is denoised: its number in the series.
_EXPOSURE = 0


def processor_seconds():
    """Return the seconds that all cores spent on this process and on its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def _denoise(method, image, seed, arguments):
    """Train on an image, and denoise it; return the result and the processor seconds."""
    whose, strategy = METHODS[method]
    start = processor_seconds()
    if whose == 'careamics':
        # An epoch is the patches that the image has room for, less those that it keeps for its validation.
        patches = np.prod([n // _PATCH for n in image.shape]) - 8
        epochs = round(arguments.steps * _BATCH / patches)
        result = train_careamics(
            image, strategy, num_epochs=epochs, seed=seed, batch_size=_BATCH, patch_size=(_PATCH, _PATCH),
            model_params={'depth': arguments.levels - 1, 'num_channels_init': arguments.base})
    else:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', AstropyUserWarning)
            model = train_classical(image, strategy, max_steps=arguments.steps, batch_size=_BATCH, patch_size=_PATCH,
                                    seed=seed, network_options={'levels': arguments.levels, 'base': arguments.base})
            result = model.predict(image).mean
    return np.asarray(result, dtype=float), processor_seconds() - start


def compare_scene(kind, seed, arguments, recorder):
    """Denoise a simulated frame by all methods, and record the errors."""
    frame = make_frame(kind, seed, arguments.size)
    for method in arguments.methods:
        image, seconds = _denoise(method, frame.data, seed, arguments)
        nr = {f'nr_{name}': noise_reduction(frame.data, image, frame.truth, frame.sigma, select=select)
              for name, select in {**classes(frame), 'sky': _sky(frame)}.items()}
        recorder.add(kind=kind, seed=seed, method=method, **nr,
                     offset=mean_offset(image, frame.truth, frame.sigma, select=_sky(frame)), processor_s=seconds)


def _sky(frame):
    """Select the pixels whose true signal is below one sigma of the sky."""
    return np.abs(frame.truth - frame.scene.sky) < frame.sky_sigma


def compare_exposure(field, arguments, recorder):
    """Denoise an exposure of a field by all methods, and record the errors and their ratio to the other's."""
    series = FIELDS[field](real_images())
    seconds = {}

    def clean(method, ccd, noise):
        data = np.asarray(ccd.data, dtype=float)
        image, seconds[method] = _denoise(method, data, _FIRST_SEED, arguments)
        return image

    sums, _ = measure_exposure(series, _EXPOSURE, arguments.methods, clean)
    for method in arguments.methods:
        for pixels in sorted({pixels for _, pixels in sums}):
            before, after, count = sums['noisy', pixels][0], sums[method, pixels][0], sums[method, pixels][1].sum()
            if count < 200:   # pixels: fewer are a few stars
                continue
            row = dict(zip(('ratio', 'ratio_low', 'ratio_high'), interval(before, after)))
            other = method.replace('ours', 'careamics')
            than = interval(sums[other, pixels][0], after) if other != method and (other, pixels) in sums else \
                (np.nan,) * 3
            recorder.add(field=field, pixels=pixels, method=method, n_pixels=int(count), **row,
                         **dict(zip(('than_careamics', 'than_low', 'than_high'), than)), processor_s=seconds[method])


def main(argv=None):
    arguments = parse(__doc__, argv, n_seeds=2, size=512, kinds=('survey', 'nebula'), first_seed=_FIRST_SEED,
                      methods=list(METHODS), options={
                          'steps': {'type': int, 'default': 600, 'help': 'training steps of each'},
                          'levels': {'type': int, 'default': 3, 'help': 'levels of the U-Net'},
                          'base': {'type': int, 'default': 16, 'help': 'its channels at full resolution'},
                          'fields': {'nargs': '*', 'default': ['DECam 04'], 'choices': FIELDS,
                                     'help': 'real exposures'}})
    note = (f'{arguments.steps} steps of {_BATCH} patches of {_PATCH}x{_PATCH}, U-Net of {arguments.levels} levels and '
            f'{arguments.base} channels, frames of {arguments.size}x{arguments.size}')
    scenes = Recorder('careamics_n2v', note, keys=('kind', 'seed', 'method'))
    for kind in arguments.kinds:
        for seed in arguments.seeds:
            compare_scene(kind, seed, arguments, scenes)
    exposures = Recorder('careamics_n2v_exposures', note, keys=('field', 'pixels', 'method'))
    for field in arguments.fields:
        compare_exposure(field, arguments, exposures)


if __name__ == '__main__':
    main()
