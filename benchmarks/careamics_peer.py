# Licensed under a 3-clause BSD style license - see LICENSE
"""
Train CAREamics on one image and denoise it: ``python careamics_peer.py n2v|n2v2 noisy.npy clean.npy [OPTIONS]``.

Runs in the environment of ``careamics-requirements.txt``, not in that of the package. OPTIONS is a JSON dictionary of
further keywords of ``create_advanced_n2v_config``; what is not said here is CAREamics' default.
"""

import json
import os
import sys

import numpy as np
import torch

# The torchvision that goes with this torch cannot load its operators without CUDA; CAREamics needs none of them,
# but the import does.
_OPERATORS = torch.library.Library('torchvision', 'DEF')
if not torch.cuda.is_available():
    for _name in 'nms', 'qnms':
        _OPERATORS.define(f'{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')

from careamics import CAREamist  # noqa: E402
from careamics.config import create_advanced_n2v_config  # noqa: E402


def main():
    algorithm, source, target, *more = sys.argv[1:]
    options = json.loads(more[0]) if more else {}
    threads = int(os.environ.get('OMP_NUM_THREADS', 0))
    if threads:
        torch.set_num_threads(threads)
    image = np.load(source)
    epochs = int(os.environ.get('CAREAMICS_EPOCHS', 100))
    config = create_advanced_n2v_config(
        'benchmark', 'array', 'YX', use_n2v2=algorithm == 'n2v2', num_workers=0,
        trainer_params={'accelerator': 'auto', 'enable_progress_bar': False},
        **{'patch_size': (64, 64), 'batch_size': 16, 'num_epochs': epochs, 'seed': 1, **options})
    careamist = CAREamist(config, work_dir='.', enable_progress_bar=False)
    careamist.train(train_data=image)
    result = careamist.predict(image, tile_size=(256, 256), tile_overlap=(48, 48))
    while isinstance(result, (tuple, list)):
        result = result[0]
    np.save(target, np.squeeze(result))


if __name__ == '__main__':
    main()
