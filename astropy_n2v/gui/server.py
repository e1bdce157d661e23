# Licensed under a 3-clause BSD style license - see LICENSE
"""
The server of the page: on this machine only, for those who know its address.
"""

import hmac
import secrets
import socket
import webbrowser

import panel as pn
from tornado.routing import Router
from tornado.web import ErrorHandler

from .folder import Folder
from .page import Page
from .uploads import MOST

__all__ = ['Guard', 'make_server', 'serve']

HOST = '127.0.0.1'
_TOKEN = 32   # bytes of the token


class Guard(Router):
    """
    Refuse requests without the token, for another host, or from a page of another origin.

    Parameters
    ----------
    application : `tornado.web.Application`
        The application that answers all other requests.
    token : str
        First part of the path of all addresses.
    port : int
        Port of the server.
    """

    def __init__(self, application, token, port):
        self.application, self.token = application, token
        self.hosts = {f'{host}:{port}' for host in (HOST, 'localhost')}

    def allows(self, request):
        """
        Check a request.

        Parameters
        ----------
        request : `tornado.httputil.HTTPServerRequest` or RequestStartLine
            With ``path`` and ``headers``.

        Returns
        -------
        bool
            True if it may be answered.
        """
        token = request.path.lstrip('/').partition('/')[0]
        origin = request.headers.get('Origin')
        return (hmac.compare_digest(token.encode(), self.token.encode())
                # A name that another site gave to 127.0.0.1 is not one of ours.
                and request.headers.get('Host') in self.hosts
                and (origin is None or origin in {f'http://{host}' for host in self.hosts})
                and request.headers.get('Sec-Fetch-Site', 'none') in ('none', 'same-origin'))

    def find_handler(self, request, **kwargs):
        """Find who answers a request."""
        if self.allows(request):
            return self.application.find_handler(request, **kwargs)
        return self.application.get_handler_delegate(request, ErrorHandler, {'status_code': 403})


class _Template(pn.template.VanillaTemplate):
    """The frame of the page; nothing of it comes from other servers."""

    _resources = {'css': {}}


# The bar at the top as low as its text; the window is for the pictures. On narrow screens the menu lies over them.
_STYLE = """
#header { padding: 0 10px; }
a.title { font-size: 1.1em; }
#sidebar-button { padding: 0 10px 0 0; }
#main { padding: 6px 6px; }
#sidebar { padding-top: 4px; }
"""


def _make_page(path, max_upload):
    """Make the page of a session."""
    dark = pn.state.session_args.get('theme', [b''])[0] == b'dark'
    menu, main = Page(path, dark, max_upload).parts()
    other = 'light' if dark else 'dark'
    theme = pn.pane.HTML(f'<a href="?theme={other}" style="color:inherit">{other}</a>', margin=(8, 16))
    template = _Template(title='astropy-n2v', sidebar=menu, main=main, header=[theme], sidebar_width=310,
                         theme='dark' if dark else 'default', busy_indicator=None)
    template.config.raw_css.append(_STYLE)
    return template


def _free_port():
    """Find a port that nobody listens on."""
    with socket.socket() as trial:
        trial.bind((HOST, 0))
        return trial.getsockname()[1]


def make_server(path='.', port=0, max_upload=MOST):
    """
    Make the server; it answers when its loop runs.

    Parameters
    ----------
    path : str or path-like, optional
        Folder of the page, or a file in it.
    port : int, optional
        Port on 127.0.0.1; by default one that is free.
    max_upload : int, optional
        Bytes that each page takes from its browser; 0 for none.

    Returns
    -------
    server : `bokeh.server.server.Server`
        The server.
    address : str
        Address of the page, with the token.

    Raises
    ------
    FileNotFoundError
        If there is no such folder or file.
    OSError
        If the port is taken.
    """
    Folder(path)   # of a mistake the user learns now, and not in the browser
    token = secrets.token_urlsafe(_TOKEN)
    port = port or _free_port()
    server = pn.serve({'page': lambda: _make_page(path, max_upload)}, port=port, address=HOST, show=False, start=False,
                      prefix=f'/{token}', websocket_origin=[f'{HOST}:{port}', f'localhost:{port}'], verbose=False,
                      title='astropy-n2v', session_history=0)
    # Bokeh compares origins of websockets only; this is asked before all that it serves.
    server._http.request_callback = Guard(server._tornado, token, port)
    return server, f'http://{HOST}:{port}/{token}/page'


def serve(path='.', *, port=0, browser=True, started=None, max_upload=MOST):
    """Serve the page until it is interrupted; see `astropy_n2v.gui.serve`."""
    server, address = make_server(path, port, max_upload)
    if started is not None:
        started(address)
    if browser:
        server.io_loop.add_callback(webbrowser.open, address)
    server.run_until_shutdown()
