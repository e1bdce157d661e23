# Licensed under a 3-clause BSD style license - see LICENSE
"""
What is in ``report.json``.
"""

__all__ = ['REPORT_SCHEMA', 'SCHEMA_NAME', 'SCHEMA_VERSION']

#: Name of the format, the value of ``schema`` in a file.
SCHEMA_NAME = 'astropy_n2v.validation.report.report'

#: Its version, the value of ``schema_version``: the second number grows where something is added, the first where
#: readers have to change.
SCHEMA_VERSION = '2.1'

_NUMBER = {'type': ['number', 'null']}
_PAIR = {'type': 'array', 'items': _NUMBER, 'minItems': 2, 'maxItems': 2}

_CHECK = {
    'type': 'object',
    'required': ['name', 'title', 'question', 'verdict', 'meaning', 'value', 'interval', 'limits', 'unit', 'n',
                 'reason'],
    'additionalProperties': False,
    'properties': {
        'name': {'type': 'string', 'pattern': '^[a-z][a-z0-9_]*$'},
        'title': {'type': 'string'},
        'question': {'type': 'string'},
        'verdict': {'enum': ['pass', 'fail', 'inconclusive', 'not run']},
        'meaning': {'type': 'string'},
        'value': _NUMBER,
        'interval': _PAIR,
        'limits': _PAIR,
        'unit': {'type': 'string'},
        'n': {'type': ['integer', 'null']},
        'reason': {'type': 'string'},
    },
}

# What the audit of the result found is of the header of the result; empty if that says nothing.
_FRAME = {
    'type': 'object',
    'required': ['name', 'status'],
    'properties': {
        'name': {'type': 'string'},
        'status': {'enum': ['done', 'failed']},
        'audit': {'type': 'string'},
        'error': {'type': 'string'},
    },
}

_COLUMN = {
    'type': 'object',
    'required': ['unit', 'description', 'dtype', 'values'],
    'additionalProperties': False,
    'properties': {
        'unit': {'type': 'string'},
        'description': {'type': 'string'},
        'dtype': {'type': 'string'},
        'values': {'type': 'array'},
    },
}

_TABLE = {
    'type': 'object',
    'required': ['n_rows', 'meta', 'columns'],
    'additionalProperties': False,
    'properties': {
        'n_rows': {'type': 'integer', 'minimum': 0},
        'meta': {'type': 'object'},
        'columns': {'type': 'object', 'additionalProperties': _COLUMN},
    },
}

#: JSON Schema (draft 2020-12) of ``report.json``.
REPORT_SCHEMA = {
    '$schema': 'https://json-schema.org/draft/2020-12/schema',
    'title': 'Validation report of astropy_n2v',
    'type': 'object',
    'required': ['schema', 'schema_version', 'meta', 'passed', 'checks', 'tables'],
    'additionalProperties': False,
    'properties': {
        'schema': {'const': SCHEMA_NAME},
        'schema_version': {'type': 'string', 'pattern': r'^2\.\d+$'},
        'meta': {
            'type': 'object',
            'required': ['denoiser', 'version', 'created', 'seed', 'frames', 'options', 'notes'],
            'properties': {
                'denoiser': {'type': 'string'},
                'version': {'type': 'string'},
                'created': {'type': 'string'},
                'seed': {'type': ['integer', 'null']},
                'frames': {'type': 'array', 'items': _FRAME},
                'options': {'type': 'object'},
                'notes': {'type': 'array', 'items': {'type': 'string'}},
            },
        },
        'passed': {'type': 'boolean'},
        'checks': {'type': 'array', 'items': _CHECK},
        'tables': {'type': 'object', 'additionalProperties': _TABLE},
    },
}
