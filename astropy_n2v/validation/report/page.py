# Licensed under a 3-clause BSD style license - see LICENSE
"""
The page of a report: one HTML file that needs nothing else.
"""

import base64
import math
from html import escape
from importlib.resources import files
from string import Template

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
    parts = files(__package__)
    sections = [_audits(report), _advice(report), _figures(figures), _tables(report)]
    return Template(parts.joinpath('page.html').read_text(encoding='utf-8')).substitute(
        _heading(report), **_banner(report), **_provenance(report), tests=_checks(report),
        style=parts.joinpath('page.css').read_text(encoding='utf-8'),
        sections='\n'.join(section for section in sections if section))


def _items(texts):
    """Write the items of a list."""
    return ''.join(f'<li>{escape(str(text))}</li>' for text in texts)


def _paragraphs(texts):
    """Write paragraphs of those texts that are not empty."""
    return ''.join(f'<p>{escape(text)}</p>' for text in texts if text)


def _badge(verdict, text=None):
    """A verdict in its colour."""
    return (f'<span class="badge {_VERDICT_CLASSES[verdict]}">{_VERDICT_MARKS[verdict]} '
            f'{escape(verdict if text is None else text)}</span>')


def _heading(report):
    """Write what was validated, and the numbers of verdicts."""
    meta, confidence = report.meta, report.meta.get('options', {}).get('confidence')
    done = sum(frame.get('status') == 'done' for frame in meta.get('frames', []))
    scope = f'{done} frame{"" if done == 1 else "s"}'
    if meta.get('n_injected'):
        scope += f', {meta["n_injected"]} injected sources'
    lines = meta.get('headline'), _of_what(report)
    badges = (_badge(verdict, f'{number} {verdict}') for verdict, number in report.counts().items())
    return {'name': escape(str(meta.get('denoiser', 'denoiser'))), 'scope': escape(scope),
            'created': escape(str(meta.get('created', ''))), 'version': escape(str(meta.get('version', ''))),
            'headline': ''.join(f'<p>{escape(line)}</p>\n' for line in lines if line),
            'badges': ''.join(f'<li>{badge}</li>' for badge in badges),
            'level': '' if confidence is None else f' Intervals hold with a confidence of {100 * confidence:g} %.'}


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
    return {'verdict': head, 'failures': f'<ul>{items}</ul>' if items else '',
            'kind': 'fail' if failed else 'unclear' if counts.get('inconclusive') or not counts.get('pass') else 'pass',
            'notes': _paragraphs(report.meta.get('notes', []))}


def _checks(report):
    """Write all tests, in their groups."""
    return '\n'.join(_check_group(report, group) for group in dict.fromkeys(check.group for check in report.checks))


def _check_group(report, group):
    """Render the cards of the tests of a group."""
    cards = '\n'.join(_card(check) for check in report.checks if check.group == group)
    return f'<h3>{escape(group)}</h3>\n<div class="cards">\n{cards}\n</div>'


def _audits(report):
    """Write what the audits of the results found."""
    audits = report.audits()
    if not audits:
        return ''
    found = [f'{name}: {text}' for name, text in audits.items() if text != 'ok']
    head = (f'Each result was compared with its own data when it was made. {len(audits) - len(found)} of {len(audits)} '
            'agree with them in all that was checked.')
    return f'<h2>Audit</h2>\n<p class="soft">{head}</p>' + (f'\n<ul>{_items(found)}</ul>' if found else '')


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
    body += _paragraphs((check.meaning, check.advice, check.reason))
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
    """List numbers to use, which are no tests."""
    advice = report.meta.get('advice', [])
    return f'<h2>To measure on these frames</h2>\n<ul>{_items(advice)}</ul>' if advice else ''


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
    """List frames and options."""
    frames, options = report.meta.get('frames', []), report.meta.get('options', {})
    lines = [f'{frame.get("name")}: {frame.get("status")}' + (f' ({frame["error"]})' if frame.get('error') else '')
             for frame in frames]
    rows = (f'<tr><td>{escape(str(key))}</td><td class="text">{escape(str(value))}</td></tr>'
            for key, value in {'seed': report.meta.get('seed'), **options}.items())
    return {'shown': ' open' if len(frames) <= 20 else '', 'frames': _items(lines), 'options': ''.join(rows)}
