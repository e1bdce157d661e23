# Licensed under a 3-clause BSD style license - see LICENSE
"""
Widgets that Panel lacks: they report keys and the size of the window, and send files in parts.
"""

import param
from panel.custom import JSComponent

__all__ = ['Chooser', 'Keys', 'Screen']

_PART = 1 << 20   # bytes of a file that are sent at once; Bokeh takes 20 MB


class Keys(JSComponent):
    """
    Reports the keys that are pressed, unless someone is typing.

    Parameters
    ----------
    pressed : callable
        Called with the name of each key.
    """

    _esm = """
    export function render({model}) {
      document.addEventListener('keydown', event => {
        const target = event.composedPath()[0]
        const typing = ['INPUT', 'TEXTAREA', 'SELECT'].includes(target.tagName) && target.type !== 'checkbox'
        if (event.ctrlKey || event.metaKey || event.altKey || (typing && event.key !== 'Escape')) return
        if (target.isContentEditable) return   // a cell of a notebook
        model.send_msg({key: event.key})
      })
      return document.createElement('span')
    }
    """

    def __init__(self, pressed, **params):
        super().__init__(**params)
        self._pressed = pressed

    def _handle_msg(self, data):
        """Pass a key on; as messages, none is lost if two come at once."""
        self._pressed(str(data.get('key')))


class Screen(JSComponent):
    """Reports the room that there is for pictures; it must be as wide as there is room."""

    room = param.List(default=[0, 0, 1], doc='Width and height in pixels, and how many of the screen one is.')

    _esm = """
    export function render({model, el}) {
      const place = el.getRootNode().host || el
      const measure = () => {
        const room = [Math.round(place.clientWidth), window.innerHeight, Math.min(window.devicePixelRatio || 1, 2)]
        if (room[0] > 0 && String(room) !== String(model.room)) model.room = room
      }
      new ResizeObserver(measure).observe(place)
      window.addEventListener('resize', measure)
      measure()
      const line = document.createElement('div')
      line.style.width = '100%'
      return line
    }
    """


class Chooser(JSComponent):
    """
    Sends a file that is chosen, or dropped on the page, in parts.

    Parameters
    ----------
    begun : callable
        Called with name and size; it returns true if the file may come.
    came : callable
        Called with each part; it returns true if more is wanted.
    """

    part = param.Integer(default=_PART, doc='Bytes of a part.')
    ending = param.String(default='', doc='Names and types that the browser shows.')

    _esm = """
    export function render({model}) {
      const label = document.createElement('label')
      label.className = 'upload'
      label.tabIndex = 0
      label.textContent = 'Upload a file ...'
      const input = document.createElement('input')
      input.type = 'file'
      input.accept = model.ending
      input.hidden = true
      label.appendChild(input)
      label.onkeydown = event => { if (['Enter', ' '].includes(event.key)) { event.preventDefault(); input.click() } }
      let file = null, place = 0
      const choose = chosen => {
        file = chosen
        place = 0
        model.send_msg({name: file.name, size: file.size})
      }
      input.onchange = () => { if (input.files.length) choose(input.files[0]); input.value = '' }
      document.addEventListener('dragover', event => event.preventDefault())
      document.addEventListener('drop', event => {
        event.preventDefault()
        if (event.dataTransfer.files.length) choose(event.dataTransfer.files[0])
      })
      model.on('msg:custom', async message => {
        if (file === null || message.want !== 'more' && message?.data?.want !== 'more') { file = null; return }
        const part = await file.slice(place, place + model.part).arrayBuffer()
        place += part.byteLength
        model.send_msg({part})
      })
      return label
    }
    """

    _stylesheets = ["""
    .upload { box-sizing: border-box; display: block; width: 100%; padding: 6px 10px; text-align: center;
              cursor: pointer; border: 1px dashed currentColor; border-radius: 4px; font-size: 13px; }
    .upload:hover, .upload:focus-visible { outline: 2px solid #0072b5; }
    """]

    def __init__(self, begun, came, **params):
        super().__init__(**params)
        self._begun, self._came = begun, came

    def _handle_msg(self, data):
        """Ask for the next part, or for no more."""
        if 'name' in data:
            more = self._begun(data['name'], data.get('size'))
        else:
            more = self._came(data.get('part'))
        self._send_msg({'want': 'more' if more else 'nothing'})
