#!/usr/bin/env python3
"""Makes include/README.md, the index of the public headers, out of their first comment lines.

usage: header_index.py ROOT writes it; tidy.py checks that it is as this would write it.
"""

import pathlib
import re
import sys

HEAD = '''# The public headers

Made by `tests/header_index.py .` from the first lines of each header.

| header | |
|---|---|
'''


def first_sentence(path: pathlib.Path) -> str:
    """Returns the first sentence of the comment that the header begins with."""
    lines = []
    for line in path.read_text().splitlines():
        if not line.startswith('// '):
            break
        lines.append(line[3:])
    return re.split(r'(?<=\.) ', ' '.join(lines) + ' ')[0].strip()


def index(root: pathlib.Path) -> str:
    include = root / 'include'
    paths = sorted([*include.rglob('*.h'), *include.rglob('*.h.in')],
                   key=lambda path: (len(path.parts), path))
    rows = []
    for path in paths:
        link = path.relative_to(include).as_posix()
        text = first_sentence(path).replace('<', '&lt;').replace('|', '\\|')
        rows.append(f'| [{link.removesuffix(".in")}]({link}) | {text} |\n')
    return HEAD + ''.join(rows)


def is_true(root: pathlib.Path) -> bool:
    file = root / 'include/README.md'
    return file.exists() and file.read_text() == index(root)


if __name__ == '__main__':
    ROOT = pathlib.Path(sys.argv[1])
    (ROOT / 'include/README.md').write_text(index(ROOT))
