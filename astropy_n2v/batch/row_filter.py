# Licensed under a 3-clause BSD style license - see LICENSE
"""
Conditions on the rows of a table, read without running code.
"""

import ast
import operator

import numpy as np

__all__ = ['select_rows']

_COMPARISONS = {ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le,
                ast.Gt: operator.gt, ast.GtE: operator.ge}
_MOST_CHARACTERS = 10000   # of a condition: deeper ones than fit here exhaust the parser


def select_rows(table, where):
    """
    Find the rows of a table that fulfil a condition.

    Nothing is executed: there are no calls, attributes or indices.

    Parameters
    ----------
    table : `~astropy.table.Table`
        The table.
    where : str
        Comparisons (``==``, ``!=``, ``<``, ``<=``, ``>``, ``>=``, ``in``, ``not in``) of columns with numbers, texts,
        lists of these and other columns, joined by ``and``, ``or`` and ``not``.

    Returns
    -------
    array of bool
        One for each row. A missing value fulfils no comparison.

    Raises
    ------
    ValueError
        If it is something else, names a column that does not exist, or compares texts with numbers.

    Examples
    --------
    >>> from astropy.table import Table
    >>> from astropy_n2v.batch import select_rows
    >>> table = Table({'filter': ['r', 'g', 'r'], 'exptime': [300.0, 300.0, 10.0]})
    >>> select_rows(table, "filter == 'r' and exptime > 100").tolist()
    [True, False, False]
    """
    try:
        if len(where) > _MOST_CHARACTERS:
            raise ValueError(f'it has more than {_MOST_CHARACTERS} characters')
        return _rows(ast.parse(where.strip(), mode='eval').body, table)
    except (SyntaxError, RecursionError, MemoryError, ValueError) as error:
        raise ValueError(f"where must be comparisons of columns, such as \"filter == 'r' and exptime > 100\", got "
                         f'{where[:200]!r}: {getattr(error, "msg", None) or error}') from error


def _rows(node, table):
    """The rows that fulfil a condition."""
    if isinstance(node, ast.BoolOp):
        join = np.logical_and if isinstance(node.op, ast.And) else np.logical_or
        return join.reduce([_rows(value, table) for value in node.values])
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return ~_rows(node.operand, table)
    if isinstance(node, ast.Compare):
        operands = [node.left, *node.comparators]
        return np.logical_and.reduce([_compare(*operands[i:i + 2], operation, table)
                                      for i, operation in enumerate(node.ops)])
    if isinstance(node, ast.Name):   # a column of booleans
        column = _column(node.id, table)
        if column.dtype.kind == 'b':
            return np.ma.filled(column, False)
    raise ValueError(f'{ast.unparse(node)} is no comparison')


def _column(name, table):
    if name not in table.colnames:
        raise ValueError(f'there is no column {name}, but {", ".join(table.colnames)}')
    return np.ma.asarray(table[name])


def _value(node, table):
    """A column, a number or a text."""
    if isinstance(node, ast.Name):
        return _column(node.id, table)
    try:
        value = ast.literal_eval(node)
    except ValueError:
        value = None
    if not isinstance(value, (bool, int, float, str)):
        raise ValueError(f'{ast.unparse(node)} is no column, number or text')
    return value


def _compare(left, right, operation, table):
    if isinstance(operation, (ast.In, ast.NotIn)):
        if not isinstance(right, (ast.List, ast.Tuple, ast.Set)):
            raise ValueError(f'{ast.unparse(right)} is no list')
        found = np.logical_or.reduce([_compare(left, entry, ast.Eq(), table) for entry in right.elts] or
                                     [np.zeros(len(table), dtype=bool)])
        if isinstance(operation, ast.In):
            return found
        return ~found & ~np.ma.getmaskarray(np.ma.asarray(_value(left, table)))
    if type(operation) not in _COMPARISONS:
        raise ValueError('there is no such comparison')
    left, right = _value(left, table), _value(right, table)
    if _is_text(left) != _is_text(right):
        raise ValueError('texts cannot be compared with numbers')
    result = np.ma.filled(np.ma.asarray(_COMPARISONS[type(operation)](left, right)), False)
    return np.broadcast_to(result, len(table))


def _is_text(value):
    return np.asarray(value).dtype.kind in 'SUO'
