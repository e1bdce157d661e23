# Licensed under a 3-clause BSD style license - see LICENSE
"""
The page of a report: one HTML file that needs nothing else.
"""

import base64
import math
from html import escape
from importlib.resources import files

import numpy as np

from .report import describe_limits, format_number

__all__ = ['render_page']

_MAX_ROWS = 40   # of a table on the page; all are in the files

_VERDICT_CLASSES = {'pass': 'pass', 'fail': 'fail', 'inconclusive': 'unclear', 'not run': 'notrun'}
_VERDICT_MARKS = {'pass': '✓', 'fail': '✗', 'inconclusive': '?', 'not run': '–'}


def render_page(report, figures):
    """
    Render a report as one HTML page, images embedded.

    Parameters
    ----------
    report : Report
        The report.
    figures : list of `~astropy_n2v.validation.figures.DrawnFigure`
        Its figures.

    Returns
    -------
    str
        The page.
    """
    name = escape(str(report.meta.get('denoiser', 'denoiser')))
    style = files(__package__).joinpath('page.css').read_text(encoding='utf-8')
    parts = [_heading(report, name), _banner(report), _checks(report), _audits(report), _advice(report),
             _figures(figures), _tables(report), _provenance(report)]
    return ('<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f'<title>Validation of {name}</title>\n<style>\n{style}</style>\n</head>\n<body>\n'
            + '\n'.join(part for part in parts if part) + '\n</body>\n</html>\n')


def _badge(verdict, text=None):
    """A verdict in its colour."""
    return (f'<span class="badge {_VERDICT_CLASSES[verdict]}">{_VERDICT_MARKS[verdict]} '
            f'{escape(verdict if text is None else text)}</span>')


def _heading(report, name):
    """What was validated, and how many tests ended how."""
    frames = report.meta.get('frames', [])
    done = sum(frame.get('status') == 'done' for frame in frames)
    text = f'{done} frame{"" if done == 1 else "s"}'
    if report.meta.get('n_injected'):
        text += f', {report.meta["n_injected"]} injected sources'
    headline = ''.join(f'<p>{escape(line)}</p>\n' for line in (report.meta.get('headline'), _of_what(report)) if line)
    badges = ''.join(f'<li>{_badge(verdict, f"{number} {verdict}")}</li>' for verdict, number
                     in report.counts().items())
    return (f'<header>\n<p class="soft">Does flux survive, do detections survive?</p>\n<h1>Validation of {name}</h1>\n'
            f'<p class="soft">{escape(text)} · {escape(str(report.meta.get("created", "")))} · astropy_n2v '
            f'{escape(str(report.meta.get("version", "")))}</p>\n'
            f'{headline}<ul class="verdicts">{badges}</ul>\n</header>')


def _of_what(report):
    """The sources and the point-spread function that numbers and figures are of."""
    parts = [report.meta[name] for name in ('sources', 'psf') if report.meta.get(name)]
    return f'Measured: {"; ".join(parts)}.' if parts else ''


def _banner(report):
    """What to know if nothing else is read."""
    failed = [check for check in report.checks if check.verdict == 'fail']
    counts = report.counts()
    if failed:
        head = f'{len(failed)} of {len(report.checks) - counts.get("not run", 0)} tests failed.'
    elif counts.get('inconclusive'):
        head = 'No test failed, but not all could be decided with these data.'
    elif counts.get('pass'):
        head = 'All tests that could be run passed.'
    else:
        head = 'No test could be run.'
    items = ''.join(f'<li><a href="#{check.name}">{escape(check.title)}</a>: {escape(check.meaning)}</li>'
                    for check in failed)
    kind = 'fail' if failed else 'unclear' if counts.get('inconclusive') or not counts.get('pass') else 'pass'
    notes = ''.join(f'<p>{escape(note)}</p>' for note in report.meta.get('notes', []))
    return (f'<div class="banner {kind}"><p><strong>{head}</strong></p>' + (f'<ul>{items}</ul>' if items else '')
            + notes + '</div>')


def _checks(report):
    """The cards of all tests."""
    confidence = report.meta.get('options', {}).get('confidence')
    level = '' if confidence is None else f' Intervals hold with a confidence of {100 * confidence:g} %.'
    return ('<h2>Tests</h2>\n<p class="soft">A test passes if its whole interval lies within the limits, fails if all '
            f'of it lies outside, and is inconclusive if the data do not decide.{level} Bands are what is accepted, '
            'bars are what was measured.</p>\n'
            + '\n'.join(_check_group(report, group) for group in dict.fromkeys(check.group for check in report.checks)))


def _check_group(report, group):
    """Render the cards of the tests of a group."""
    cards = '\n'.join(_card(check) for check in report.checks if check.group == group)
    return f'<h3>{escape(group)}</h3>\n<div class="cards">\n{cards}\n</div>'


def _audits(report):
    """What the audits found that the results were made with."""
    audits = report.audits()
    if not audits:
        return ''
    found = {name: text for name, text in audits.items() if text != 'ok'}
    items = ''.join(f'<li>{escape(name)}: {escape(text)}</li>' for name, text in found.items())
    head = (f'Each result was compared with its own data when it was made. {len(audits) - len(found)} of {len(audits)} '
            'agree with them in all that was checked.')
    return f'<h2>Audit</h2>\n<p class="soft">{head}</p>' + (f'\n<ul>{items}</ul>' if items else '')


def _card(check):
    """One test."""
    body = f'<p class="question">{escape(check.question)}</p>'
    if check.ran:
        unit = f' {check.unit}' if check.unit else ''
        interval = '' if check.interval is None else ' <span class="soft">({} to {})</span>'.format(
            *map(format_number, check.interval))
        body += f'<p class="value">{format_number(check.value)}{escape(unit)}{interval}</p>{_scale(check)}'
        count = '' if check.n is None else f' · n = {check.n}'
        body += f'<p class="soft">Accepted: {escape(describe_limits(check))}{count}</p>'
    for text in (check.meaning, check.advice, check.reason):
        body += f'<p>{escape(text)}</p>' if text else ''
    return (f'<section class="card" id="{check.name}"><header><h3>{escape(check.title)}</h3>{_badge(check.verdict)}'
            f'</header>{body}</section>')


def _scale(check):
    """A line with the limits as a band and the interval as a bar."""
    ends = [value for value in (check.value, *(check.interval or ()), *check.limits)
            if value is not None and math.isfinite(value)]
    if len(ends) < 2 or max(ends) == min(ends):
        return ''
    margin = 0.12 * (max(ends) - min(ends))
    low, high = min(ends) - margin, max(ends) + margin

    def place(value):
        return 300 * (value - low) / (high - low)
    start = 0 if check.limits[0] is None else place(check.limits[0])
    end = 300 if check.limits[1] is None else place(check.limits[1])
    first, last = check.interval or (check.value, check.value)
    return ('<svg class="scale" viewBox="0 0 300 22" preserveAspectRatio="none" role="img" '
            f'aria-label="{escape(describe_limits(check))}"><line class="axis" x1="0" x2="300" y1="11" y2="11"/>'
            f'<rect class="band" x="{start:.1f}" width="{max(end - start, 1):.1f}" y="2" height="18"/>'
            f'<line class="mark" x1="{place(first):.1f}" x2="{max(place(last), place(first) + 1):.1f}" y1="11" '
            f'y2="11"/><line class="mark" x1="{place(check.value):.1f}" x2="{place(check.value):.1f}" y1="5" y2="17"/>'
            '</svg>')


def _advice(report):
    """Numbers to use, which are no tests."""
    advice = report.meta.get('advice', [])
    if not advice:
        return ''
    items = ''.join(f'<li>{escape(text)}</li>' for text in advice)
    return f'<h2>To measure on these frames</h2>\n<ul>{items}</ul>'


def _figures(figures):
    """All figures."""
    if not figures:
        return ''
    return '<h2>Figures</h2>\n<div class="figures">\n' + '\n'.join(map(_figure, figures)) + '\n</div>'


def _figure(figure):
    """One figure, for light and dark."""
    def source(data):
        return f'data:image/png;base64,{base64.b64encode(data).decode("ascii")}'
    dark = '' if figure.dark is None else (f'<source media="screen and (prefers-color-scheme: dark)" '
                                           f'srcset="{source(figure.dark)}">')
    caption = escape(figure.caption)
    return (f'<figure{" class=wide" if figure.wide else ""}><picture>{dark}<img alt="{caption}" '
            f'width="{figure.size[0]}" height="{figure.size[1]}" src="{source(figure.light)}"></picture>'
            f'<figcaption>{caption}</figcaption></figure>')


def _tables(report):
    """All tables, folded."""
    tables = {name: table for name, table in report.tables.items() if len(table)}
    if not tables:
        return ''
    return ('<h2>Numbers</h2>\n<p class="soft">In full, and with more digits, in <code>tables/*.ecsv</code> beside '
            'this page, for <code>astropy.table.Table.read</code>.</p>\n'
            + '\n'.join(f'<details><summary>{escape(name.replace("_", " "))} <span class="soft">({len(table)} rows)'
                        f'</span></summary>{_table(table)}</details>' for name, table in tables.items()))


def _table(table):
    """One table, its first rows."""
    def cell(value):
        if isinstance(value, (float, np.floating)):
            return f'<td>{format_number(float(value))}</td>'
        if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
            return f'<td>{value}</td>'
        return f'<td class="text">{escape(str(value))}</td>'
    heads = []
    for name in table.colnames:
        unit = table[name].unit
        heads.append(f'<th>{escape(name.replace("_", " "))}{f"<br>({escape(str(unit))})" if unit else ""}</th>')
    columns = [getattr(table[name], 'value', table[name])[:_MAX_ROWS] for name in table.colnames]
    rows = ''.join(f'<tr>{"".join(map(cell, row))}</tr>' for row in zip(*columns))
    more = f'<p class="soft">… and {len(table) - _MAX_ROWS} more rows</p>' if len(table) > _MAX_ROWS else ''
    return (f'<div class="scroll"><table><thead><tr>{"".join(heads)}</tr></thead><tbody>{rows}</tbody></table></div>'
            f'{more}')


def _provenance(report):
    """Frames and options."""
    meta = report.meta
    frames = ''.join(f'<li>{escape(str(frame.get("name")))}: {escape(str(frame.get("status")))}'
                     + (f' ({escape(str(frame["error"]))})' if frame.get('error') else '') + '</li>'
                     for frame in meta.get('frames', []))
    options = ''.join(f'<tr><td>{escape(str(key))}</td><td class="text">{escape(str(value))}</td></tr>'
                      for key, value in {'seed': meta.get('seed'), **meta.get('options', {})}.items())
    shown = ' open' if len(meta.get('frames', [])) <= 20 else ''
    return (f'<h2>How it was made</h2>\n<details{shown}><summary>Frames</summary><ul>{frames}</ul></details>\n'
            f'<details open><summary>Options</summary><div class="scroll"><table>{options}</table></div></details>')
