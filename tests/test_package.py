# Licensed under a 3-clause BSD style license - see LICENSE
"""
The package as a whole: what it exports, how fast it imports, what it ships.
"""

import ast
import functools
import importlib
import importlib.metadata
import importlib.resources
import inspect
import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import astropy_n2v

HEAVY = ('torch', 'matplotlib', 'photutils', 'ccdproc', 'reproject', 'dask', 'panel')


def run_python(code):
    """Run code in a fresh interpreter; return what it printed, parsed as JSON."""
    # The package of this process, be it installed or the source tree.
    setup = f'import json, sys\nsys.path[:] = {sys.path!r}\n'
    result = subprocess.run([sys.executable, '-c', setup + code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def test_version():
    assert astropy_n2v.__version__[0].isdigit()


@pytest.mark.parametrize('name', astropy_n2v.__all__)
def test_public_names(name):
    value = getattr(astropy_n2v, name)
    assert value.__doc__
    assert name in dir(astropy_n2v)
    # Found once, it is an ordinary attribute.
    assert vars(astropy_n2v)[name] is value


def objects_of_the_api():
    """Yield the functions and classes that the API reference lists, by the name of their module and their own."""
    text = (Path(__file__).resolve().parents[1] / 'docs' / 'api.rst').read_text(encoding='utf-8')
    for name in re.findall(r'automodapi:: (\S+)', text):
        module = importlib.import_module(name)
        for found in (getattr(module, public) for public in getattr(module, '__all__', vars(module))):
            if (inspect.isfunction(found) or inspect.isclass(found)) and found.__module__.startswith('astropy_n2v'):
                yield f'{name}.{found.__name__}', found
    for path in re.findall(r'auto(?:class|function):: (\S+)', text):
        module, name = path.rsplit('.', 1)
        yield path, getattr(importlib.import_module(module), name)


def returns_a_value(function):
    """Check if a function has a statement that returns or yields a value, functions within it left out."""
    found, nodes = [], ast.parse(textwrap.dedent(inspect.getsource(function))).body[0].body
    while nodes:
        node = nodes.pop()
        if not isinstance(node, (ast.FunctionDef, ast.Lambda)):
            nodes.extend(ast.iter_child_nodes(node))
            found += [node] if isinstance(node, (ast.Return, ast.Yield)) and node.value is not None else []
    return bool(found)


def callables_of_the_api():
    """Yield name, function and docstring of functions, constructors and methods that the API reference lists."""
    for name, found in objects_of_the_api():
        if inspect.isfunction(found):
            yield name, found, inspect.getdoc(found)
            continue
        if '__init__' in vars(found):
            yield name, found.__init__, inspect.getdoc(found)
        for member, value in vars(found).items():
            function = getattr(value, '__func__', value)   # of a class method or static method
            if inspect.isfunction(function) and not member.startswith('_'):
                yield f'{name}.{member}', function, inspect.getdoc(function)


def documented_parameters(text):
    """List the names in the section on parameters of a docstring."""
    section = text.partition('Parameters\n----------\n')[2].partition('\n\n')[0]
    return re.findall(r'\w+', ' '.join(re.findall(r'^(\S[^:]*)', section, re.M)))


def parameters_of(function):
    """List the parameters of a function but for the object or class that it is called on."""
    return [parameter for parameter in inspect.signature(function).parameters.values()
            if parameter.name not in ('self', 'cls')]


def test_api_documents_parameters_and_results():
    wrong = []
    for name, function, text in callables_of_the_api():
        text = text or ''
        documented, parameters = documented_parameters(text), parameters_of(function)
        wrong += [f'{name}: {parameter.name} is missing' for parameter in parameters
                  if parameter.kind is not parameter.VAR_KEYWORD and parameter.name not in documented]
        # The docstring may list the options that a function hands on.
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            wrong += [f'{name}: {extra} is no parameter'
                      for extra in documented if extra not in [parameter.name for parameter in parameters]]
        is_function = function.__name__ != '__init__'
        if is_function and returns_a_value(function) and not re.search(r'^(Returns|Yields)\n---', text, re.M):
            wrong.append(f'{name}: the result is missing')
    assert wrong == []


def test_properties_of_the_api_are_documented():
    properties = [(f'{name}.{member}', value) for name, found in objects_of_the_api() if inspect.isclass(found)
                  for member, value in vars(found).items()
                  if isinstance(value, (property, functools.cached_property)) and not member.startswith('_')]
    assert len(properties) > 40
    assert [name for name, value in properties if not value.__doc__] == []


def test_unknown_name():
    with pytest.raises(AttributeError, match="no attribute 'denoize'"):
        astropy_n2v.denoize  # noqa: B018


@pytest.mark.parametrize('name', ['io', 'networks', 'simulate', 'training'])
def test_subpackages_export_what_they_say(name):
    module = importlib.import_module(f'astropy_n2v.{name}')
    for public in getattr(module, '__all__', []):
        assert hasattr(module, public)


def test_documented_names_have_an_example():
    """All functions and classes of the API reference, but for one that changes the installed package."""
    objects = {found for _, found in objects_of_the_api()}
    lacking = {found.__name__ for found in objects if '>>> ' not in (inspect.getdoc(found) or '')}
    assert len(objects) > 200 and lacking == {'write_checksums'}


def test_import_is_quick_and_light():
    code = f"""
import time
start = time.perf_counter()
import astropy_n2v
print(json.dumps([time.perf_counter() - start, [name for name in {HEAVY} if name in sys.modules]]))
"""
    # The best of three: a busy machine or a cold disk is not the fault of the package.
    runs = [run_python(code) for _ in range(3)]
    assert runs[0][1] == []
    assert min(seconds for seconds, _ in runs) < 1


def test_simulation_noise_and_validation_know_no_torch():
    code = """
import astropy_n2v.audit, astropy_n2v.inference.bootstrap, astropy_n2v.inference.recalibration
import astropy_n2v.planes, astropy_n2v.noise
import astropy_n2v.inference.normalization
import astropy_n2v.simulate, astropy_n2v.validation
print(json.dumps('torch' in sys.modules))
"""
    assert run_python(code) is False


@pytest.mark.parametrize('command', [[], ['analyze'], ['denoise'], ['detect'], ['train'], ['demo'], ['models'],
                                     ['noise'], ['validate']])
def test_help_is_light(command):
    code = f"""
from astropy_n2v.cli import main
try:
    main({[*command, '--help']})
except SystemExit as done:
    assert not done.code
print()
print(json.dumps([name for name in {HEAVY} if name in sys.modules]))
"""
    assert run_python(code) == []


def test_models_are_listed_without_torch():
    code = """
from astropy_n2v.cli import main
main(['models'], standalone_mode=False)
print(json.dumps('torch' in sys.modules))
"""
    assert run_python(code) is False


def test_entry_point():
    points = importlib.metadata.entry_points(group='console_scripts', name='astropy-n2v')
    if not points:
        pytest.skip('astropy-n2v is not installed')
    (point,) = points
    assert callable(point.load())


def test_weights_are_shipped_with_their_card():
    weights = importlib.resources.files('astropy_n2v').joinpath('weights')
    assert any(entry.name.endswith('.safetensors') for entry in weights.iterdir())
    assert any(entry.name.endswith('.md') for entry in weights.iterdir())
    assert weights.joinpath('SHA256SUMS').is_file()
