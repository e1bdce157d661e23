# Licensed under a 3-clause BSD style license - see LICENSE
"""
Learning curves.
"""

import numpy as np

__all__ = ['plot_training']


def plot_training(steps, loss, held_out, *, flux_error=None, depth=None, quantity='negative log-likelihood a pixel'):
    """
    Plot the loss of the pixels trained on, and of those held out, against steps; below, how stars survive.

    Parameters
    ----------
    steps : array_like
        Steps of the training, shape (n,).
    loss, held_out : array_like
        Loss at these steps, such as the negative log-likelihood a pixel; NaN where it was not measured.
    flux_error, depth : array_like, optional
        Of injected stars, the error of the flux in units of the one in the noisy image, and the depth in magnitudes
        beyond it; NaN where they were not measured.
    quantity : str, optional
        Name of the loss, for the axis.

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
    judged = {'color': '#1f5fa8', 'marker': 'o', 'ms': 4}
    panels = [(quantity, [(loss, 'pixels trained on', {'color': '0.6', 'lw': 1}),
                          (held_out, 'pixels held out', judged)])]
    for values, label in ((flux_error, 'error of flux / noisy'), (depth, 'depth - noisy (mag)')):
        if values is not None and np.isfinite(np.asarray(values, dtype=float)).any():
            panels.append((label, [(values, 'injected stars', judged)]))
    figure = Figure(figsize=(6.4, 2.0 + 2.0 * len(panels)), layout='constrained')
    axes = figure.subplots(len(panels), squeeze=False, sharex=True, height_ratios=[2, *[1] * (len(panels) - 1)])[:, 0]
    for ax, (ylabel, curves) in zip(axes, panels):
        for values, label, style in curves:
            known = np.isfinite(np.asarray(values, dtype=float))
            ax.plot(np.asarray(steps)[known], np.asarray(values)[known], label=label, **style)
        ax.set_ylabel(ylabel)
        ax.legend()
    axes[-1].set_xlabel('step')
    return figure
