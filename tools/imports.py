# Licensed under a 3-clause BSD style license - see LICENSE
"""
Read from the source of a package which of its modules import which.

The code is parsed, not run, so that imports inside functions count, too.
"""

import ast
from collections import namedtuple

__all__ = ['Imports', 'find_circles', 'importable', 'read_imports', 'read_trees', 'unit']

#: Modules that a module imports when it is imported itself, and later, inside functions.
Imports = namedtuple('Imports', 'early late')


def read_trees(folder):
    """
    Parse all modules of a package.

    Parameters
    ----------
    folder : pathlib.Path
        Directory of the package.

    Returns
    -------
    dict of str to ast.Module
        Syntax trees by the full name of the module; a package has the name of its folder.
    """
    trees = {}
    for path in sorted(folder.rglob('*.py')):
        parts = path.relative_to(folder.parent).with_suffix('').parts
        name = '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)
        trees[name] = ast.parse(path.read_text(encoding='utf-8'), filename=str(path))
    return trees


def read_imports(folder):
    """
    Find out which modules the modules of a package import.

    Parameters
    ----------
    folder : pathlib.Path
        Directory of the package.

    Returns
    -------
    dict of str to Imports
        Full names of the imported modules, of this package and of others, by the full name of the importing module.
    """
    trees = read_trees(folder)
    return {name: Imports(*_imports(tree, name, folder.parent, trees))
            for name, tree in trees.items()}


def _imports(tree, module, root, known):
    is_package = (root.joinpath(*module.split('.')) / '__init__.py').exists()
    late = {id(node) for function in ast.walk(tree) if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))
            for node in ast.walk(function)}
    found = set(), set()
    for node in ast.walk(tree):
        names = found[id(node) in late]
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = _source(node, module, is_package)
            # A name may be a module of the package that it is imported from.
            names.update(f'{source}.{alias.name}' if f'{source}.{alias.name}' in known else source
                         for alias in node.names)
    return found


def _source(node, module, is_package):
    if not node.level:
        return node.module
    parts = module.split('.')
    parts = parts[:len(parts) - node.level + is_package]
    return '.'.join(parts + ([node.module] if node.module else []))


def unit(module):
    """
    Name the part of the package that a module belongs to.

    Parameters
    ----------
    module : str
        Full name of a module.

    Returns
    -------
    str
        The folder or the module directly below the package; the package itself for its ``__init__``.

    Examples
    --------
    >>> unit('astropy_n2v.noise.model'), unit('astropy_n2v.config'), unit('astropy_n2v')
    ('noise', 'config', 'astropy_n2v')
    """
    return module.split('.')[:2][-1]


def importable(module, imports):
    """
    List all modules that are imported with a module, directly or by others.

    Parameters
    ----------
    module : str
        Full name of a module of the package.
    imports : dict of str to Imports
        From `read_imports`.

    Returns
    -------
    set of str
        Full names of modules, of this package and of others.
    """
    seen, waiting = set(), [module]
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += imports[name].early if name in imports else ()
            # Python imports the packages that a module is in, too.
            waiting += [name.rpartition('.')[0]] if name in imports and '.' in name else ()
    return seen


def find_circles(edges):
    """
    Find the groups of names that depend on each other.

    Parameters
    ----------
    edges : dict of str to iterable of str
        What each name depends on; names that are no keys are ignored.

    Returns
    -------
    list of list of str
        Largest groups of two or more names, each of which can be reached from all others of its group.
    """
    reached = {name: _reach(name, edges) for name in edges}
    circles = {tuple(sorted(other for other in reached[name] if name in reached[other])) for name in edges}
    return sorted(list(circle) for circle in circles if len(circle) > 1)


def _reach(start, edges):
    seen, waiting = set(), list(edges[start])
    while waiting:
        name = waiting.pop()
        if name in edges and name not in seen:
            seen.add(name)
            waiting += edges[name]
    return seen
