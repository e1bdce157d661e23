# Licensed under a 3-clause BSD style license - see LICENSE
"""
Make the example of a validation report: the default model on simulated frames.

``python docs/make_report.py DIRECTORY``; the documentation does it when it is built and there is none.
"""

import sys
from pathlib import Path

from astropy_n2v import denoise
from astropy_n2v.simulate import make_scene
from astropy_n2v.validation import validate

SEEDS = 41, 42   # of scenes that serve nothing else


def make_report(directory):
    """Validate the default model, and write the report and its summary into a directory."""
    scenes = [make_scene('survey', (320, 320), seed=seed) for seed in SEEDS]
    frames = [scene.observe(seed=seed + 1000) for seed, scene in zip(SEEDS, scenes)]
    report = validate(frames, denoise, truth=[scene.truth for scene in scenes], psf=scenes[0].psf,
                      noise=scenes[0].noise, inject=3, n_sources=60, n_resamples=500, seed=1,
                      names=[f'survey field {seed}' for seed in SEEDS], denoiser_name='denoise, default model')
    report.write(directory, overwrite=True)
    (Path(directory) / 'summary.txt').write_text(report.summary() + '\n', encoding='utf-8')


if __name__ == '__main__':
    make_report(sys.argv[1])
