# Licensed under a 3-clause BSD style license - see LICENSE
"""
Write cards and history into headers, or into plain dictionaries.
"""

__all__ = ['CARD_LENGTH', 'write_cards']

#: Characters of history in a card.
CARD_LENGTH = 72


def write_cards(meta, cards, history):
    """
    Write provenance to a header or to a plain dictionary.

    Parameters
    ----------
    meta : `~astropy.io.fits.Header` or dict
        Header to write to, in place.
    cards : dict or None
        Value and comment for each keyword; if empty, cards of an earlier result are removed all the same.
    history : list of str or None
        Lines of history.
    """
    for keyword in [name for name in meta if str(name).startswith('N2V')]:
        del meta[keyword]   # of an earlier result
    if not cards:
        return
    if hasattr(meta, 'add_history'):
        for keyword, (value, comment) in cards.items():
            meta[keyword] = (value, comment)
        for line in history:
            meta.add_history(line)
        return
    for keyword, (value, _) in cards.items():
        meta[keyword] = value
    _extend_history(meta, history)


def _extend_history(meta, history):
    """Add lines to the history of a dictionary, in a form that other packages can save."""
    # Use an existing key, and keep the type of its value.
    key = next((name for name in meta if str(name).upper() == 'HISTORY'), 'HISTORY')
    earlier = meta.get(key, '')
    if not isinstance(earlier, str):
        meta[key] = [*map(str, earlier), *history]
    elif '\n' in earlier:   # as sunpy has it
        meta[key] = '\n'.join([earlier, *history])
    else:
        # Both `astropy.nddata.CCDData` and sunpy can write one string without line breaks; FITS splits it into cards of
        # 72 characters.
        lines = [earlier, *history] if earlier else history
        meta[key] = ''.join(line.ljust(-(-len(line) // CARD_LENGTH) * CARD_LENGTH) for line in lines).rstrip()
