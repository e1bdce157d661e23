# Licensed under a 3-clause BSD style license - see LICENSE
"""
``python -m astropy_n2v.cli``, where the command is not on the path.
"""

from . import main

if __name__ == '__main__':
    main(prog_name='astropy-n2v')
