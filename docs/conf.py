# Licensed under a 3-clause BSD style license - see LICENSE
"""
Configuration of the documentation: ``sphinx-build -W --keep-going -n -b html docs docs/_build/html``.
"""

import sys
from importlib.metadata import version as installed_version
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

project = 'astropy_n2v'
author = 'The astropy_n2v developers'
project_copyright = f'2026, {author}'
release = installed_version('astropy-n2v')
version = '.'.join(release.split('.')[:2])

extensions = [
    'sphinx.ext.autodoc',
    'sphinx.ext.intersphinx',
    'sphinx.ext.mathjax',
    'numpydoc',
    'pytest_doctestplus.sphinx.doctestplus',
    'sphinx_automodapi.automodapi',
    'sphinx_automodapi.smart_resolver',
    'matplotlib.sphinxext.plot_directive',
]
exclude_patterns = ['_build', '_extra', '_generated', 'Thumbs.db', '.DS_Store']
default_role = 'obj'
nitpicky = True

autodoc_typehints = 'none'
automodapi_toctreedirnm = 'api'
automodsumm_inherited_members = False
numpydoc_show_class_members = False
plot_formats = [('png', 120)]
plot_html_show_formats = False
plot_html_show_source_link = False

# The example of a validation report, made once and copied as it is.
html_extra_path = ['_extra']

html_theme = 'pydata_sphinx_theme'
html_title = f'astropy_n2v {release}'
html_theme_options = {'navigation_depth': 2, 'show_nav_level': 2, 'icon_links': []}

# Where the names of other projects are documented, and what these names look like.
_EXTERNAL = {
    'https://docs.python.org/3/': (
        r'(bool|int|float|complex|str|bytes|bytearray|dict|list|tuple|set|object|type|None|True|False|logging.*'
        r'|os\..*|pathlib\..*|[A-Z][A-Za-z]*(Error|Warning|Exception))'),
    'https://numpy.org/doc/stable/': r'numpy(\..*)?',
    'https://docs.scipy.org/doc/scipy/': r'scipy(\..*)?',
    'https://docs.astropy.org/en/stable/': r'astropy(\..*)?',
    'https://photutils.readthedocs.io/en/stable/': r'photutils(\..*)?',
    'https://ccdproc.readthedocs.io/en/stable/': r'ccdproc(\..*)?',
    'https://reproject.readthedocs.io/en/stable/': r'reproject(\..*)?',
    'https://scikit-image.org/docs/stable/': r'skimage(\..*)?',
    'https://docs.pytorch.org/docs/stable/': r'(torch(\..*)?|tensor|Module)',
    'https://matplotlib.org/stable/': r'matplotlib(\..*)?',
}


def _reachable(url):
    try:
        with urlopen(f'{url}objects.inv', timeout=3):
            return True
    except (URLError, OSError):
        return False


# Links where there is a network. Without one the names of others stay plain text; ours must always resolve.
intersphinx_mapping = {}
nitpick_ignore_regex = []
for _url, _names in _EXTERNAL.items():
    if _reachable(_url):
        intersphinx_mapping[_url.split('/')[2].replace('.', '-')] = (_url, None)
    else:
        nitpick_ignore_regex.append((r'py:.*', _names))
# Names that the inventories lack even where they are reachable.
nitpick_ignore_regex.append((r'py:.*', r'torch\.nn\.modules\..*'))

_DOCS = Path(__file__).resolve().parent
sys.path[:0] = [str(_DOCS), str(_DOCS.parent / 'tools')]

# A picture and tables that follow the source.
from constants import make_table, read_constants, read_variations  # noqa: E402
from make_architecture import draw  # noqa: E402
from make_tests import write_tests  # noqa: E402

_GENERATED = _DOCS / '_generated'
_GENERATED.mkdir(exist_ok=True)
draw(_GENERATED / 'architecture.png')
_VARIED = read_variations(_DOCS.parent / 'benchmarks' / 'results' / 'tuned_numbers.csv')
(_GENERATED / 'constants.txt').write_text(make_table(read_constants(_DOCS.parent / 'astropy_n2v'), _VARIED),
                                          encoding='utf-8')
write_tests(_GENERATED / 'tests.txt')

_EXAMPLE = _DOCS / '_extra' / 'validation-example'
if not (_EXAMPLE / 'summary.txt').exists():
    from make_report import make_report
    make_report(_EXAMPLE)
