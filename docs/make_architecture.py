# Licensed under a 3-clause BSD style license - see LICENSE
"""
Draw which parts of the package import which, as their source says.

``python docs/make_architecture.py FILE``; the documentation does it when it is built.
"""

import sys
from pathlib import Path

from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / 'tools'))

from imports import imports_of_parts, reachable, read_imports  # noqa: E402


def parts_of(folder):
    """List the parts of a package that each part imports."""
    edges = imports_of_parts(read_imports(folder))
    del edges[folder.name]   # the names that users see, of all parts
    return {part: others - {folder.name} for part, others in edges.items()}


def levels_of(edges):
    """Give each part a level above those of all parts that it imports."""
    levels = {}

    def level(part):
        if part not in levels:
            levels[part] = 1 + max(map(level, edges[part]), default=-1)
        return levels[part]

    for part in edges:
        level(part)
    return levels


def direct(edges):
    """Leave out the imports of a part that another part, which it imports, imports, too."""
    reached = {part: reachable(part, edges) for part in edges}
    return {part: {other for other in others if not any(other in reached[between] for between in others)}
            for part, others in edges.items()}


def draw(path):
    """Draw the parts of the package in rows, each above all that it imports, and write the picture into a file."""
    package = ROOT / 'astropy_n2v'
    edges = parts_of(package)
    levels = levels_of(edges)
    rows = [sorted(part for part in edges if levels[part] == row) for row in range(max(levels.values()) + 1)]
    width = max(map(len, rows))
    place = {part: ((i + 0.5) * width / len(row), y) for y, row in enumerate(rows) for i, part in enumerate(row)}
    figure = Figure(figsize=(1.2 * width, 0.85 * len(rows)), layout='constrained')
    axes = figure.add_subplot()
    axes.set(xlim=(0, width), ylim=(-0.5, len(rows) - 0.5))
    axes.axis('off')
    for part, (x, y) in place.items():
        is_folder = (package / part).is_dir()
        axes.text(x, y, part, ha='center', va='center', fontsize=8, zorder=2, weight='bold' if is_folder else 'normal',
                  bbox={'boxstyle': 'round', 'facecolor': '#cfe2f3' if is_folder else 'white', 'edgecolor': '0.3'})
    for part, others in direct(edges).items():
        for other in others:
            # Around the parts between.
            bend = 0.2 if levels[part] - levels[other] > 1 else 0
            axes.annotate('', place[other], place[part], zorder=1,
                          arrowprops={'arrowstyle': '->', 'color': '0.6', 'shrinkA': 9, 'shrinkB': 9,
                                      'connectionstyle': f'arc3,rad={bend}'})
    figure.savefig(path, dpi=120)


if __name__ == '__main__':
    draw(sys.argv[1])
