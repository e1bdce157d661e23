# Licensed under a 3-clause BSD style license - see LICENSE
"""
Learning curves.
"""

import numpy as np

__all__ = ['plot_training']


def plot_training(steps, loss, held_out):
    """
    Plot the likelihood of the pixels trained on, and of those held out, against steps.

    Parameters
    ----------
    steps : array_like
        Steps of the training, shape (n,).
    loss, held_out : array_like
        Negative log-likelihood a pixel at these steps; NaN where it was not measured.

    Returns
    -------
    `~matplotlib.figure.Figure`
        The curves.

    Examples
    --------
    >>> from astropy_n2v.visualization import plot_training
    >>> figure = plot_training([10, 20, 30], [1.2, 0.8, 0.7], [float('nan'), 0.9, 0.8])
    >>> [line.get_label() for line in figure.axes[0].lines]
    ['pixels trained on', 'pixels held out']
    """
    from matplotlib.figure import Figure
    figure = Figure(figsize=(6.4, 4.0), layout='constrained')
    ax = figure.add_subplot(xlabel='step', ylabel='negative log-likelihood a pixel')
    for values, label, style in ((loss, 'pixels trained on', {'color': '0.6', 'lw': 1}),
                                 (held_out, 'pixels held out', {'color': '#1f5fa8', 'marker': 'o', 'ms': 4})):
        known = np.isfinite(np.asarray(values, dtype=float))
        ax.plot(np.asarray(steps)[known], np.asarray(values)[known], label=label, **style)
    ax.legend()
    return figure
