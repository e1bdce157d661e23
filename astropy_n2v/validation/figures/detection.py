# Licensed under a 3-clause BSD style license - see LICENSE
"""
Figures of detection: confusion, precision and recall, completeness.
"""

import numpy as np

from ..detection.thresholds import detection_scores
from .style import COLOURS, draw_intervals, get_ink, say_empty, set_plain_log, takes_axes

__all__ = ['draw_best_f1', 'draw_completeness', 'draw_confusion', 'draw_detection_summary', 'draw_precision_recall',
           'draw_threshold_counts', 'draw_threshold_scores']

_SCORES = {'precision': 'output', 'recall': 'truth', 'F1': 'matched'}   # and their colours


def _broken(label):
    """A name in lines of one word, to stand beside others."""
    return str(label).replace(' / ', '/\n').replace(' ', '\n')


@takes_axes
def draw_confusion(tp, fp, fn, *, title='', ax=None):
    """
    Draw how many sources were found, missed and falsely found.

    Parameters
    ----------
    tp, fp, fn : int
        True positives, false positives and false negatives.
    title : str, optional
        Of the axes.

    Notes
    -----
    There are no true negatives: empty sky cannot be counted.

    Examples
    --------
    >>> from astropy_n2v.validation.figures import draw_confusion
    >>> len(draw_confusion(90, 5, 10).texts)
    4
    """
    from matplotlib.patches import Rectangle
    cells = [(0, 1, tp, 'found', 'truth'), (1, 1, fn, 'missed', 'bad'), (0, 0, fp, 'false', 'bad'),
             (1, 0, None, '', 'input')]
    largest = max(tp, fp, fn, 1)
    for x, y, number, text, colour in cells:
        alpha = 0.08 if number is None else 0.12 + 0.5 * number / largest
        ax.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=COLOURS[colour], alpha=alpha, lw=0))
        ax.text(x, y, '–' if number is None else f'{number:d}\n{text}', ha='center', va='center', fontsize=13)
    ax.set(xlim=(-0.5, 1.5), ylim=(-0.5, 1.5), title=title)
    ax.set_xticks([0, 1], ['detected', 'not detected'])
    ax.set_yticks([1, 0], ['source', 'no source'], rotation=90, va='center')
    ax.grid(False)


@takes_axes
def draw_detection_summary(labels, tp, fp, fn, *, ax=None):
    """
    Draw precision, recall and F1 of some ways to detect, side by side.

    Parameters
    ----------
    labels : sequence of str
        The ways.
    tp, fp, fn : array_like of int
        True positives, false positives and false negatives of each.

    Examples
    --------
    >>> from astropy_n2v.validation.figures import draw_detection_summary
    >>> ax = draw_detection_summary(['input', 'result'], [80, 90], [5, 5], [20, 10])
    >>> len(ax.patches)
    6
    """
    x = np.arange(len(labels))
    for i, ((name, colour), values) in enumerate(zip(_SCORES.items(), detection_scores(tp, fp, fn))):
        bars = ax.bar(x + 0.27 * (i - 1), np.nan_to_num(values), 0.25, color=COLOURS[colour], label=name)
        ax.bar_label(bars, [f'{value:.2f}' for value in values], fontsize=8 if len(labels) < 4 else 6.5)
    counts = [f'{t}/{f}/{m}\n{_broken(label)}' for label, t, f, m in zip(labels, tp, fp, fn)]
    ax.set_xticks(x, counts, fontsize=8)
    ax.set(ylim=(0, 1.3), xlabel='found / false / missed')
    ax.legend(ncols=3, loc='upper center')


@takes_axes
def draw_precision_recall(curves, *, ax=None):
    """
    Draw precision against recall, with the threshold at each point.

    Parameters
    ----------
    curves : dict of tuple
        By label: thresholds, tp, fp and fn, each of shape (n,).

    Examples
    --------
    >>> from astropy_n2v.validation.figures import draw_precision_recall
    >>> draw_precision_recall({'result': ([3, 5], [90, 80], [20, 1], [10, 20])}).get_xlabel()
    'recall (completeness)'
    """
    for i, (label, (thresholds, tp, fp, fn)) in enumerate(curves.items()):
        precision, recall, _ = detection_scores(tp, fp, fn)
        colour = _colour(label, i)
        ax.plot(recall, precision, 'o-', ms=4, lw=1, color=colour, label=label)
        good = np.flatnonzero(np.isfinite(precision) & np.isfinite(recall))
        # Not so many that they hide each other.
        for j in good[::max(1, good.size // 5)]:
            ax.annotate(f'{thresholds[j]:g}', (recall[j], precision[j]), xytext=(4, 4 if i % 2 else -10),
                        textcoords='offset points', fontsize=8, color=colour)
    ax.set(xlabel='recall (completeness)', ylabel='precision (purity)', xlim=(-0.03, 1.05), ylim=(-0.03, 1.05))
    ax.legend(loc='lower left')


@takes_axes
def draw_threshold_scores(thresholds, tp, fp, fn, *, title='', ax=None):
    """
    Draw precision, recall and F1 against the detection threshold.

    Parameters
    ----------
    thresholds, tp, fp, fn : array_like
        Thresholds, and the counts at each, shape (n,).
    title : str, optional
        Of the axes.

    Examples
    --------
    >>> from astropy_n2v.validation.figures import draw_threshold_scores
    >>> len(draw_threshold_scores([3, 5], [90, 80], [20, 1], [10, 20]).lines)
    3
    """
    _draw_by_threshold(ax, thresholds, _SCORES, detection_scores(tp, fp, fn))
    ax.set(ylabel='score', ylim=(-0.03, 1.05), title=title)


@takes_axes
def draw_threshold_counts(thresholds, tp, fp, fn, *, title='', ax=None):
    """
    Draw found, false and missed sources against the detection threshold.

    Parameters
    ----------
    thresholds, tp, fp, fn : array_like
        Thresholds, and the counts at each, shape (n,).
    title : str, optional
        Of the axes.

    Examples
    --------
    >>> from astropy_n2v.validation.figures import draw_threshold_counts
    >>> draw_threshold_counts([3, 5], [90, 80], [20, 1], [10, 20]).get_yscale()
    'symlog'
    """
    _draw_by_threshold(ax, thresholds, {'found': 'truth', 'false': 'bad', 'missed': 'input'}, (tp, fp, fn))
    ax.set_yscale('symlog', linthresh=10)
    ax.set(ylabel='sources', title=title)
    ax.set_ylim(bottom=0)


def _draw_by_threshold(ax, thresholds, names, curves):
    """Draw curves, of which names and colours are given, against the threshold."""
    for (name, colour), values in zip(names.items(), curves):
        ax.plot(thresholds, values, 'o-', ms=4, lw=1, color=COLOURS[colour], label=name)
    if np.max(thresholds) > 10 * np.min(thresholds):
        set_plain_log(ax.xaxis)
    ax.set(xlabel='threshold')
    ax.legend()


@takes_axes
def draw_best_f1(curves, *, ax=None):
    """
    Draw the best F1 of some ways to detect, and the threshold at which it is reached.

    Parameters
    ----------
    curves : dict of tuple
        By label: thresholds, tp, fp and fn, each of shape (n,).

    Examples
    --------
    >>> from astropy_n2v.validation.figures import draw_best_f1
    >>> len(draw_best_f1({'result': ([3, 5], [90, 80], [20, 1], [10, 20])}).patches)
    1
    """
    best = []
    for label, (thresholds, tp, fp, fn) in curves.items():
        precision, recall, f1 = detection_scores(tp, fp, fn)
        if np.isfinite(f1).any():
            i = int(np.nanargmax(f1))
            best.append((label, f1[i], f'F1 {f1[i]:.2f} at {thresholds[i]:g}\nP {precision[i]:.2f}, R {recall[i]:.2f}'))
    if not best:
        return say_empty(ax, 'no source')
    labels, values, texts = zip(*best)
    bars = ax.bar(range(len(labels)), values, 0.6, color=[_colour(label, i) for i, label in enumerate(labels)])
    ax.bar_label(bars, texts, fontsize=8.5 if len(labels) < 4 else 7)
    ax.set_xticks(range(len(labels)), [_broken(label) for label in labels], fontsize=8)
    ax.set(ylabel='best F1', ylim=(0, 1.3))


@takes_axes
def draw_completeness(curves, *, fits=None, xlabel='magnitude', ax=None):
    """
    Draw completeness with its intervals, and the fitted curves.

    Parameters
    ----------
    curves : dict of tuple
        By label: centres of the bins, completeness, and the ends of its interval, each of shape (n,).
    fits : dict of tuple, optional
        By label: magnitude of half completeness, and width of the logistic curve.
    xlabel : str, optional
        Quantity that the bins are of.

    Examples
    --------
    >>> from astropy_n2v.validation.figures import draw_completeness
    >>> draw_completeness({'result': ([20, 21], [0.9, 0.4], [0.8, 0.3], [0.95, 0.5])}).get_ylabel()
    'completeness'
    """
    for i, (label, values) in enumerate(curves.items()):
        centre, value, lower, upper = (np.asarray(array, dtype=float) for array in values)
        good = np.isfinite(value)
        colour = _colour(label, i)
        fit = (fits or {}).get(label)
        fitted = fit is not None and np.isfinite(fit).all()
        draw_intervals(ax, centre[good], value[good], lower[good], upper[good], fmt='o' if fitted else 'o-',
                       color=colour, label=label)
        if fitted:
            x = np.linspace(np.min(centre), np.max(centre), 200)
            ax.plot(x, 0.5 * (1 - np.tanh((x - fit[0]) / (2 * fit[1]))), '-', lw=1, color=colour)
    for level in (0.5, 0.9):
        ax.axhline(level, color=get_ink(), lw=0.6, ls=':')
    ax.set(xlabel=xlabel, ylabel='completeness', ylim=(-0.03, 1.05))
    ax.legend()


def _colour(label, i):
    """The colour of a way to detect, the same in all figures."""
    known = {'raw': 'input', 'input': 'input', 'matched': 'matched', 'denoised': 'output', 'result': 'output'}
    for start, colour in known.items():
        if label.lower().startswith(start) and 'over' not in label.lower() and '/' not in label:
            return COLOURS[colour]
    return [COLOURS['truth'], COLOURS['bad'], '#8e6bbf', '#4fb0c6'][i % 4]
