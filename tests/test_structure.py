# Licensed under a 3-clause BSD style license - see LICENSE
"""
The structure of the package: which modules import which, how large functions are, and what constants say.

Lists of exceptions may only shrink: an entry that is not needed any more fails, too.
"""

import ast
from importlib import import_module
from importlib.util import find_spec, resolve_name
from pathlib import Path

import pytest
from constants import constants_of, make_table, read_constants, read_variations
from imports import find_circles, importable, imports_of_parts, part_of, read_imports, read_sources

PACKAGE = Path(__file__).resolve().parents[1] / 'astropy_n2v'

# Parts of the package (folders, or modules directly below it) from the lowest to the highest: nothing imports a part
# of a later line.
LAYERS = (
    ('config', 'exceptions', 'version', 'utils'),
    ('io',),
    ('background', 'containers'),
    ('noise',),
    ('blind_spot', 'photometry'),
    ('audit', 'networks', 'planes', 'provenance', 'significance', 'simulate'),
    ('inference', 'visualization', 'weights'),
    ('denoiser', 'assembly'),
    ('collections',),
    ('training',),
    ('denoising',),
    ('batch',),
    ('validation',),
    ('sources',),
    ('gui',),
    ('cli',),
)

# The same of the parts of `validation`.
VALIDATION = (('measures',), ('detection',), ('injection',), ('figures',), ('report',))

MAX_LOOSE = 12   # modules beside the folders at the top of the package

# Parts that are imported without torch. Their functions may call other parts that need it, but import no torch.
WITHOUT_TORCH = 'audit', 'collections', 'containers', 'io', 'noise', 'photometry', 'simulate', 'validation'

# Groups of modules that need each other, but not while they are imported.
LATE_CIRCLES = [
    ['astropy_n2v.validation.report.page', 'astropy_n2v.validation.report.report'],
]

MAX_LINES = 60
MAX_PARAMETERS = 12

# Functions that users call: their parameters are the options that they have. Commands have one for each option.
FRONT_DOORS = {'analyze_files', 'denoise', 'denoise_files', 'denoise_fits', 'inject_and_recover', 'train',
               'train_classical', 'train_classical_collection', 'train_collection', 'validate'}

LONG_FUNCTIONS = set()

MANY_PARAMETERS = {
    'astropy_n2v.denoiser.predict',
    'astropy_n2v.simulate.detector.observe',
    'astropy_n2v.training.loop.__init__',
    'astropy_n2v.validation.injection.sources.inject_realisations',
    'astropy_n2v.validation.detection.thresholds.sweep_thresholds',
}


@pytest.fixture(scope='module')
def imports():
    return read_imports(PACKAGE)


def together(imports):
    """Join the imports at the top of modules and those inside functions."""
    return {name: found.early | found.late for name, found in imports.items()}


def upward(imports, layers, top='astropy_n2v'):
    """List the pairs of modules below a package in which the first imports the second from a higher layer."""
    height = {f'{top}.{part}': i for i, layer in enumerate(layers) for part in layer}

    def layer(name):
        return height.get('.'.join(name.split('.')[:top.count('.') + 2]))

    pairs = [(name, other) for name, others in together(imports).items() for other in others if other in imports]
    return sorted(pair for pair in pairs if None not in map(layer, pair) and layer(pair[0]) < layer(pair[1]))


def functions():
    """Yield the name, syntax tree and source of each function of the package."""
    for module, source in read_sources(PACKAGE).items():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield f'{module}.{node.name}', node, source.splitlines()


def imported_names():
    """Yield module, source and name of each import from the package, those inside functions included."""
    for module, source in read_sources(PACKAGE).items():
        package = module if (PACKAGE.parent / module.replace('.', '/')).is_dir() else module.rpartition('.')[0]
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom) and node.level:
                origin = resolve_name('.' * node.level + (node.module or ''), package)
                yield from ((module, origin, alias.name) for alias in node.names if alias.name != '*')


def is_there(origin, name):
    """Check that a module has a name, or a package a module of that name."""
    try:
        found = import_module(origin)
    except ModuleNotFoundError as error:   # of a library that need not be installed
        return not error.name.startswith('astropy_n2v')
    return hasattr(found, name) or (hasattr(found, '__path__') and find_spec(f'{origin}.{name}') is not None)


def code_lines(node, lines):
    """Count the lines of a function without docstring, comments and blank lines."""
    used = set(range(node.lineno, node.end_lineno + 1))
    if ast.get_docstring(node) is not None:
        used -= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return sum(1 for line in used if lines[line - 1].strip() and not lines[line - 1].strip().startswith('#'))


def parameters(node):
    """List the names of the parameters of a function but for self and cls."""
    arguments = node.args
    found = arguments.posonlyargs + arguments.args + arguments.kwonlyargs
    found += [extra for extra in (arguments.vararg, arguments.kwarg) if extra]
    return [argument.arg for argument in found if argument.arg not in ('self', 'cls')]


def test_imported_names_exist():
    # Inside functions they are missed only when the function is called.
    found = list(imported_names())
    assert len(found) > 1000
    assert [names for names in found if not is_there(*names[1:])] == []


def test_no_circle_while_modules_are_imported(imports):
    assert find_circles({name: found.early for name, found in imports.items()}) == []


def test_no_circle_inside_functions(imports):
    assert find_circles(together(imports)) == LATE_CIRCLES


def test_no_circle_of_parts(imports):
    assert find_circles(imports_of_parts(imports)) == []


def test_nothing_imports_upwards(imports):
    assert upward(imports, LAYERS) == []
    assert upward(imports, VALIDATION, 'astropy_n2v.validation') == []


def test_all_parts_have_a_layer(imports):
    assert {part_of(name) for name in imports} - {'astropy_n2v'} == {part for layer in LAYERS for part in layer}
    assert {path.name for path in (PACKAGE / 'validation').iterdir() if (path / '__init__.py').exists()} == {
        part for layer in VALIDATION for part in layer}


def test_few_modules_beside_the_folders():
    assert len([path for path in PACKAGE.glob('*.py') if path.name != '__init__.py']) <= MAX_LOOSE


def test_parts_that_know_no_torch(imports):
    for name, found in imports.items():
        if part_of(name) in WITHOUT_TORCH:
            known = importable(name, imports) | found.late
            assert not [other for other in known if other.split('.')[0] == 'torch'], name


def test_functions_are_short():
    assert {name for name, node, lines in functions() if code_lines(node, lines) > MAX_LINES} == LONG_FUNCTIONS


def test_functions_have_few_parameters():
    found = {name for name, node, _ in functions() if len(parameters(node)) > MAX_PARAMETERS
             and node.name not in FRONT_DOORS and part_of(name.rpartition('.')[0]) != 'cli'}
    assert found == MANY_PARAMETERS


def test_one_function_warns():
    # It gives the line of the user; levels that are counted by hand go wrong with the next function in between.
    warning = {module for module, source in read_sources(PACKAGE).items() for node in ast.walk(ast.parse(source))
               if isinstance(node, ast.Call) and ast.unparse(node.func) == 'warnings.warn'}
    assert warning == {'astropy_n2v.utils.warn'}


def test_sizes_of_functions_are_counted():
    source = 'def f(self, a, /, b=1, *c, d, **e):\n    """Say.\n\n    More.\n    """\n    # why\n\n    return a'
    node = ast.parse(source).body[0]
    assert code_lines(node, source.splitlines()) == 2
    assert parameters(node) == ['a', 'b', 'd', 'c', 'e']


def test_constants_are_explained():
    constants = read_constants(PACKAGE)
    assert len(constants) > 100
    assert [f'{constant.module}.{constant.name}' for constant in constants if not constant.comment] == []


@pytest.fixture
def example(tmp_path):
    """Write a package with a circle at the top of modules, and another one inside a function."""
    files = {'__init__.py': '', 'a.py': 'from . import b\nimport torch.nn', 'b.py': 'from .a import something',
             'sub/__init__.py': 'from .c import *', 'sub/c.py': 'def f():\n    from ..d import g\n',
             'd.py': 'from package.sub import c\n'}
    for name, text in files.items():
        path = tmp_path / 'package' / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(text, encoding='utf-8')
    return read_imports(tmp_path / 'package')


def test_imports_are_read(example):
    assert example['package.a'] == ({'package.b', 'torch.nn'}, set())
    assert example['package.b'].early == {'package.a'}
    assert example['package.sub'].early == {'package.sub.c'}
    assert example['package.sub.c'] == (set(), {'package.d'})
    assert example['package.d'].early == {'package.sub.c'}


def test_circles_are_found(example):
    early = [['package.a', 'package.b']]
    assert find_circles({name: found.early for name, found in example.items()}) == early
    assert find_circles(together(example)) == [*early, ['package.d', 'package.sub.c']]


def test_what_is_imported_with_a_module(example):
    assert importable('package.b', example) == {'package', 'package.a', 'package.b', 'torch.nn'}
    assert importable('package.d', example) == {'package', 'package.d', 'package.sub', 'package.sub.c'}


def test_imports_of_parts_are_joined(example):
    assert imports_of_parts(example) == {'package': set(), 'a': {'b'}, 'b': {'a'}, 'd': {'sub'}, 'sub': {'d'}}


def test_imports_upwards_are_found(example):
    pair = 'package.sub.c', 'package.d'
    assert upward(example, (('sub',), ('d',)), 'package') == [pair]
    assert upward(example, (('d',), ('sub',)), 'package') == [pair[::-1]]
    assert upward(example, (('sub',), ('a',)), 'package') == []


@pytest.mark.parametrize('source, expected', [
    ('X = 1  # px', ('X', '1', 'px')),
    ('# of the noise\n_LOW, _HIGH = 0.5, 2 ** 3', ('_LOW, _HIGH', '0.5, 2 ** 3', 'of the noise')),
    ('#: Public, in pixels,\n#: on a side.\nX = -1', ('X', '-1', 'Public, in pixels, on a side.')),
    ('# elsewhere\n\nX = 1', ('X', '1', '')),
    ('X = (0, 1), (2, 0)', ('X', '(0, 1), (2, 0)', '')),
])
def test_constants_are_read(source, expected):
    assert [constant[1:] for constant in constants_of(source, 'm')] == [expected]


def test_comment_above_a_group_of_constants():
    found = constants_of('# In pixels:\nW = 1  # height\nX = 2\nY = 3  # width\n\nZ = 3', 'm')
    assert [constant.comment for constant in found] == ['In pixels: height', 'In pixels:', 'width', '']


def test_other_values_are_no_constants():
    assert constants_of("X = 'a'\nY = True\nZ = f(1)\nlower = 1\ndef f():\n    A = 1", 'm') == []


def test_table_of_constants():
    table = make_table(constants_of('X_Y = 1  # a*b of `c`', 'package.m'))
    assert '   * - ``m``\n     - ``X_Y``\n     - ``1``\n     - a\\*b of \\`c\\`\n' in table


def test_variations_of_constants(tmp_path):
    path = tmp_path / 'table.csv'
    assert read_variations(path) == {}
    path.write_text('module,name,factor,frames,changed,mean_error,largest_error,coverage,messages\n'
                    'package.m,X,0.5,16,0,1.000,1.000,0.000,0\npackage.m,X,2,16,3,1.012,1.100,-0.010,1\n',
                    encoding='utf-8')
    variations = read_variations(path)
    assert variations == {('package.m', 'X'): ['nothing', '3 of 16: 1.01, 1.1, 1 messages']}
    table = make_table(constants_of('X = 1  # px', 'package.m'), variations)
    assert '     - px\n     - nothing\n     - 3 of 16: 1.01' in table
