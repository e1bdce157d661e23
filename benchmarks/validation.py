# Licensed under a 3-clause BSD style license - see LICENSE
"""
Verdicts of `astropy_n2v.validation.validate` on the default model, and its time: ``python benchmarks/validation.py``.

A survey field of 2048x2048 pixels with ten injections of 200 sources, its truth and noise known. Writes
``results/validation.csv``, a row for each test; the time is in its first line.
"""

import numpy as np
from common import make_frame, measured, parse, write_table

from astropy_n2v import denoise
from astropy_n2v.validation import validate

__all__ = ['main']


def main(argv=None):
    arguments = parse(__doc__, argv, n_seeds=1, size=2048,
                      flags={'quick': 'one injection of few sources, to see that it runs'})
    frames = [make_frame('survey', seed, arguments.size) for seed in arguments.seeds]
    injections = {'inject': 1, 'n_sources': 20} if arguments.quick else {'inject': 10, 'n_sources': 200}
    report, seconds, _ = measured(
        validate, [frame.ccd for frame in frames], denoise, truth=[frame.truth for frame in frames],
        noise=frames[0].noise, psf=frames[0].psf, denoiser_name='default model', seed=1, **injections)
    rows = [{'test': check.title, 'verdict': check.verdict, 'value': np.nan if check.value is None else check.value,
             'low': low, 'high': high, 'unit': check.unit}
            for check in report.checks for low, high in [check.interval or (np.nan, np.nan)]]
    print(report.summary())
    write_table(rows, 'validation', f'{len(frames)} of {arguments.size}x{arguments.size} pixels with '
                f'{injections["inject"]} x {injections["n_sources"]} injected sources in {seconds:.0f} s')


if __name__ == '__main__':
    main()
