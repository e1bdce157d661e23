# Licensed under a 3-clause BSD style license - see LICENSE
"""
A page on which frames are denoised, looked at and judged; it needs the extra ``gui``.
"""

__all__ = ['app', 'serve']


def app(path='.'):
    """
    Make the page for a notebook.

    Parameters
    ----------
    path : str or path-like, optional
        Folder whose files may be read and written, or a file in it, which is opened.

    Returns
    -------
    object
        The page, something that Panel can show; ``panel.extension()`` must have been called.

    Raises
    ------
    FileNotFoundError
        If there is no such folder or file.
    ImportError
        If Panel is not installed.

    Examples
    --------
    >>> from astropy_n2v.gui import app
    >>> app('night1')    # doctest: +SKIP
    """
    return _load('page').Page(path).layout()


def serve(path='.', *, port=0, browser=True, started=None, max_upload=2048):
    """
    Serve the page to the browsers of this machine, until it is interrupted.

    Parameters
    ----------
    path : str or path-like, optional
        As for `app`.
    port : int, optional
        Port on 127.0.0.1; by default one that is free.
    browser : bool, optional
        If true, open a browser.
    started : callable, optional
        Called with the address when the page can be opened. The address holds a random token; whoever has it can read
        and write the files of the folder.
    max_upload : float, optional
        Megabytes (2**20 bytes) of files that each page takes from its browser; 0 for none. They lie in a private
        temporary folder until the page is closed.

    Raises
    ------
    FileNotFoundError
        If there is no such folder or file.
    ImportError
        If Panel is not installed.
    OSError
        If the port is taken.

    Examples
    --------
    >>> from astropy_n2v.gui import serve
    >>> serve('night1', started=print)    # doctest: +SKIP
    """
    _load('server').serve(path, port=port, browser=browser, started=started,
                          max_upload=int(max_upload * 2 ** 20))


def _load(name):
    """Import a module that needs Panel."""
    import importlib
    try:
        return importlib.import_module(f'.{name}', __name__)
    except ImportError as error:
        raise ImportError(f"the page needs Panel and Bokeh ({error}): pip install 'astropy-n2v[gui]'") from error
