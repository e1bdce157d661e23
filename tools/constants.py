# Licensed under a 3-clause BSD style license - see LICENSE
"""
List the tuned numbers of the package with the comments that explain them.

``python tools/constants.py`` prints the table that the documentation shows.
"""

import ast
import csv
import io
import sys
import tokenize
from collections import namedtuple
from pathlib import Path

from imports import part_of, read_sources

__all__ = ['Constant', 'constants_of', 'make_table', 'read_constants', 'read_variations']

#: A number at the top level of a module: its module, name, value as it is written, and explanation.
Constant = namedtuple('Constant', 'module name value comment')

# Parts of the package whose numbers are not tuned on images.
_LEFT_OUT = {'batch', 'cli', 'collections', 'gui', 'io', 'photometry', 'simulate', 'training', 'validation',
             'visualization', 'weights'}


def read_constants(folder):
    """
    List the numeric constants of the modules that denoise, measure noise and audit.

    Parameters
    ----------
    folder : pathlib.Path
        Directory of the package.

    Returns
    -------
    list of Constant
        In the order of the modules and of their lines.
    """
    return [constant for name, source in read_sources(folder).items() if part_of(name) not in _LEFT_OUT
            for constant in constants_of(source, name)]


def constants_of(source, module):
    """
    List the numeric constants of a module.

    The comment of a constant stands behind it or, on lines of its own, directly above it. A comment above several
    constants without a line between them explains all that have none of their own.

    Parameters
    ----------
    source : str
        Text of the module.
    module : str
        Name of the module.

    Returns
    -------
    list of Constant
        A tuple of constants that is assigned at once is one.

    Examples
    --------
    >>> constants_of('LIMIT = 0.5   # of the noise', 'noise.limits')
    [Constant(module='noise.limits', name='LIMIT', value='0.5', comment='of the noise')]
    """
    trailing, whole = _comments(source)
    constants, shared, end = [], '', 0
    for node in ast.parse(source).body:
        if not isinstance(node, ast.Assign):
            continue
        above = _block_above(node.lineno, whole)
        if above or node.lineno != end + 1:
            shared = above
        end = node.end_lineno
        own = ' '.join(trailing[line] for line in range(node.lineno, end + 1) if line in trailing)
        names = ast.unparse(node.targets[0]).strip('()')
        if _is_number(node.value) and names.isupper():
            value = ast.unparse(node.value)
            value = value[1:-1] if isinstance(node.value, ast.Tuple) else value
            comment = ' '.join(text for text in (above, own) if text) or shared
            constants.append(Constant(module, names, value, comment))
    return constants


def _comments(source):
    """Return comments behind code, and comments on lines of their own, by their lines."""
    trailing, whole = {}, {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            alone = token.line.lstrip().startswith('#')
            (whole if alone else trailing)[token.start[0]] = token.string.lstrip('#:').strip()
    return trailing, whole


def _block_above(line, comments):
    first = line
    while first - 1 in comments:
        first -= 1
    return ' '.join(comments[i] for i in range(first, line))


def _is_number(node):
    if isinstance(node, ast.Constant):
        return isinstance(node.value, (int, float)) and not isinstance(node.value, bool)
    if isinstance(node, ast.UnaryOp):
        return _is_number(node.operand)
    if isinstance(node, ast.BinOp):
        return _is_number(node.left) and _is_number(node.right)
    return isinstance(node, (ast.Tuple, ast.List)) and all(map(_is_number, node.elts)) and bool(node.elts)


def read_variations(path):
    """
    Read how results change with each constant at half and at twice its value.

    Parameters
    ----------
    path : pathlib.Path
        Table that ``benchmarks/tuned_numbers.py`` wrote.

    Returns
    -------
    dict of (str, str) to list of str
        Descriptions at half and at twice, by module and name of the constant; empty if there is no table.
    """
    found = {}
    if path.exists():
        with open(path, encoding='utf-8', newline='') as file:
            for row in csv.DictReader(line for line in file if not line.startswith('#')):
                found.setdefault((row['module'], row['name']), []).append(_describe(row))
    # A table that is not complete may end between the two.
    return {name: texts for name, texts in found.items() if len(texts) == 2}


def _describe(row):
    if row['changed'] == '0' and row['messages'] == '0':
        return 'nothing'
    text = f'{row["changed"]} of {row["frames"]}: {float(row["mean_error"]):.3g}, {float(row["largest_error"]):.3g}'
    return text + (f', {row["messages"]} messages' if row['messages'] != '0' else '')


def make_table(constants, variations=None):
    """
    Write constants as a table in reStructuredText.

    Parameters
    ----------
    constants : list of Constant
        From `read_constants`.
    variations : dict, optional
        From `read_variations`.

    Returns
    -------
    str
        A ``list-table``.
    """
    variations = variations or {}
    rows = [('Module', 'Name', 'Value', 'Meaning', 'Half', 'Twice')]
    rows += [(f'``{constant.module.partition(".")[2]}``', f'``{constant.name}``', f'``{constant.value}``',
              constant.comment.replace('\\', r'\\').replace('*', r'\*').replace('`', r'\`').replace('|', r'\|')
              .replace('_', r'\_'), *variations.get((constant.module, constant.name), ('', '')))
             for constant in constants]
    lines = ['.. list-table::', '   :header-rows: 1', '   :widths: 14 17 12 33 12 12', '']
    for row in rows:
        lines += [('   * - ' if i == 0 else '     - ') + cell for i, cell in enumerate(row)]
    return '\n'.join(lines) + '\n'


if __name__ == '__main__':
    root = Path(__file__).parents[1]
    sys.stdout.write(make_table(read_constants(root / 'astropy_n2v'),
                                read_variations(root / 'benchmarks' / 'results' / 'tuned_numbers.csv')))
