# Licensed under a 3-clause BSD style license - see LICENSE
"""
Read from the source of a package which of its modules import which.

The code is parsed, not run, so that imports inside functions count, too.
"""

import ast
from collections import namedtuple

__all__ = ['Imports', 'find_circles', 'importable', 'imports_of_parts', 'part_of', 'reachable', 'read_imports',
           'read_sources']

#: Modules that a module imports when it is imported itself, and later, inside functions.
Imports = namedtuple('Imports', 'early late')


def read_sources(folder):
    """
    Read all modules of a package.

    Parameters
    ----------
    folder : pathlib.Path
        Directory of the package.

    Returns
    -------
    dict of str to str
        Texts by the full name of the module; a package has the name of its folder.
    """
    sources = {}
    for path in sorted(folder.rglob('*.py')):
        parts = path.relative_to(folder.parent).with_suffix('').parts
        name = '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)
        sources[name] = path.read_text(encoding='utf-8')
    return sources


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
    sources = read_sources(folder)
    packages = {folder.name, *(name.rpartition('.')[0] for name in sources)}
    return {name: Imports(*_imports(ast.parse(source), name, name in packages, sources))
            for name, source in sources.items()}


def _imports(tree, module, is_package, known):
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


def part_of(module):
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
    >>> part_of('astropy_n2v.noise.model'), part_of('astropy_n2v.config'), part_of('astropy_n2v')
    ('noise', 'config', 'astropy_n2v')
    """
    return module.split('.')[:2][-1]


def imports_of_parts(imports):
    """
    Join the modules of each part of a package, with all that they import, inside functions, too.

    Parameters
    ----------
    imports : dict of str to Imports
        From `read_imports`.

    Returns
    -------
    dict of str to set of str
        Other parts of the package, by the importing part; see `part_of`.
    """
    edges = {part_of(name): set() for name in imports}
    for name, found in imports.items():
        others = {part_of(other) for other in found.early | found.late if other in imports}
        edges[part_of(name)] |= others - {part_of(name)}
    return edges


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
    # Python imports the packages that a module is in, too.
    edges = {name: found.early | {name.rpartition('.')[0]} - {''} for name, found in imports.items()}
    return {module} | reachable(module, edges)


def find_circles(edges):
    """
    Find the groups of names that depend on each other.

    Parameters
    ----------
    edges : dict of str to iterable of str
        Names that each name depends on; those that are no keys are ignored.

    Returns
    -------
    list of list of str
        Largest groups of two or more names, each of which can be reached from all others of its group.
    """
    reached = {name: reachable(name, edges) & edges.keys() for name in edges}
    circles = {tuple(sorted(other for other in reached[name] if name in reached[other])) for name in edges}
    return sorted(list(circle) for circle in circles if len(circle) > 1)


def reachable(start, edges):
    """
    List all names that a name depends on, directly or through others.

    Parameters
    ----------
    start : str
        One of the keys of ``edges``.
    edges : dict of str to iterable of str
        Names that each name depends on.

    Returns
    -------
    set of str
        Has ``start`` itself where that is in a circle.
    """
    seen, waiting = set(), list(edges[start])
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += edges.get(name, ())
    return seen
