# Licensed under a 3-clause BSD style license - see LICENSE
"""
The content of ``report.json``.
"""

import json
from importlib.resources import files

__all__ = ['REPORT_SCHEMA', 'SCHEMA_NAME', 'SCHEMA_VERSION']

#: JSON Schema (draft 2020-12) of ``report.json``.
REPORT_SCHEMA = json.loads(files(__package__).joinpath('schema.json').read_text(encoding='utf-8'))

#: Name of the format, the value of ``schema`` in a file.
SCHEMA_NAME = REPORT_SCHEMA['properties']['schema']['const']

#: Its version, the value of ``schema_version``: the second number grows where something is added, the first where
#: readers have to change.
SCHEMA_VERSION = '3.0'
