"""The results of compare.py for people: a page with plots, Markdown, and lines for a terminal."""

import html

STYLE = '''
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
h2 { margin-top: 2.5rem; font-size: 1.15rem; } p.note { color: #555; }
table { border-collapse: collapse; margin: .5rem 0 1rem; } td, th { padding: .15rem .7rem; text-align: right; }
td:first-child, th:first-child { text-align: left; } tr + tr td { border-top: 1px solid #ddd; }
th { font-weight: 600; border-bottom: 1px solid #888; } .own { fill: #b4471c; } .other { fill: #7a8896; }
.range { stroke: #222; stroke-width: 1.5; } .axis { stroke: #bbb; } svg text { font-size: 12px; fill: #222; }
@media (prefers-color-scheme: dark) { body { background: #16181b; color: #ddd; } svg text { fill: #ddd; }
  p.note { color: #aaa; } .range { stroke: #eee; } tr + tr td { border-color: #333; } }
'''
LABEL, BAR, ROW, RIGHT = 220, 420, 22, 150  # Pixels of a plot: names, bars, the height of one, figures.


def number(value: float) -> str:
    return f'{value:,.0f}' if value >= 1000 else f'{value:.1f}' if value >= 10 else f'{value:.2f}'


def spread_text(spread: dict, form) -> str:
    return f'{form(spread["median"])} ({form(spread["min"])} to {form(spread["max"])})'


def ratio(value: float) -> str:
    return f'{value:.3f}'


def is_own(label: str) -> bool:
    return label.startswith('heddle') or label in ('shared', 'clear', 'isolated') or 'thread' in label


def plot(experiment: dict) -> str:
    """Bars from zero with the range of the rounds, as SVG."""
    rows = [row for row in experiment['rows'] if 'value' in row]
    if not rows:
        return ''
    # One that is many times slower than the rest would leave nothing to be seen of them.
    medians = sorted(row['value']['median'] for row in rows)
    largest = min(medians[-1], 3 * medians[len(medians) // 2]) or 1
    scale = BAR / (1.15 * largest)
    height = ROW * len(rows) + 8
    parts = [f'<svg viewBox="0 0 {LABEL + BAR + RIGHT} {height}" role="img" '
             f'aria-label="{html.escape(experiment["title"])}">',
             f'<line class="axis" x1="{LABEL}" y1="0" x2="{LABEL}" y2="{height}"/>']
    for index, row in enumerate(rows):
        value, middle = row['value'], index * ROW + ROW / 2 + 2
        width = max(min(value['median'] * scale, BAR), 0)
        cut = value['median'] * scale > BAR
        kind = 'own' if is_own(row['label']) else 'other'
        parts.append(f'<text x="{LABEL - 8}" y="{middle + 4:.0f}" text-anchor="end">{html.escape(row["label"])}</text>')
        parts.append(f'<rect class="{kind}" x="{LABEL}" y="{middle - 7:.0f}" width="{width:.1f}" height="14"/>')
        if not cut:
            left, right = (LABEL + max(min(value[end] * scale, BAR), 0) for end in ('min', 'max'))
            parts.append(f'<line class="range" x1="{left:.1f}" y1="{middle:.0f}" x2="{right:.1f}" y2="{middle:.0f}"/>')
        said = number(value['median']) + (' (cut off)' if cut else '')
        said += f' = {ratio(row["ratio"]["median"])}' if 'ratio' in row else ''
        parts.append(f'<text x="{LABEL + BAR + 8}" y="{middle + 4:.0f}">{said}</text>')
    return '\n'.join([*parts, '</svg>'])


def has_latency(experiment: dict) -> bool:
    return any('p50_us' in row for row in experiment['rows'])


def cells(experiment: dict) -> list:
    """A heading and a line for each row, as text."""
    latency = has_latency(experiment)
    lines = [['', experiment['unit'], 'ratio', *(['per second', 'p50, ms', 'p99, ms'] if latency else [])]]
    for row in experiment['rows']:
        if 'value' not in row:
            reason = row.get('skipped') or row.get('refused', '')
            lines.append([row['label'], f'not measured: {reason}', '', *([''] * 3 if latency else [])])
            continue
        line = [row['label'], spread_text(row['value'], number),
                spread_text(row['ratio'], ratio) if 'ratio' in row else '']
        if latency:
            line += [number(row['per_second']), f'{row["p50_us"] / 1000:.2f}', f'{row["p99_us"] / 1000:.2f}']
        lines.append(line)
    return lines


def remarks(experiment: dict) -> list:
    found = [experiment['note']] if experiment['note'] else []
    found += [f'{row["label"]}: {row["refused"]}' for row in experiment['rows'] if 'refused' in row]
    sessions = {}
    for row in experiment['rows']:
        if 'session' in row:
            sessions.setdefault(row['session'], []).append(row['label'])
    if len(sessions) == 1:
        found.append(f'All with {next(iter(sessions))}.')
    else:
        found += [f'{session}: {", ".join(labels)}.' for session, labels in sessions.items()]
    return found


def facts(report: dict) -> list:
    machine = report['machine']
    lines = [('Processor', f'{machine["cpu"]}, {machine["processors"]} of them'), ('Kernel', machine['kernel']),
             ('OpenSSL', machine['openssl']), ('Compiler of Heddle and the servers in C++', machine['compiler']),
             ('Date', report['date']), ('Command', report['command']),
             ('Rounds', f'{report["rounds"]}, of {report["seconds"]:g} s for each contestant')]
    lines += [(name, version) for name, version in report['versions'].items()]
    return lines + [(name, f'not here: {reason}') for name, reason in report['absent'].items()]


def warnings(report: dict) -> list:
    return ['Server and load shared one core: the figures are not to be relied on.'] if report['one_core'] else []


INTRODUCTION = ('The server has one core, the load (heddle load) another; contestants take turns. Each figure is the median '
                'of the rounds, with their range. A ratio is taken round by round, to the row whose ratio is 1, in general nginx.')


def table(lines: list) -> str:
    heading, *rest = ([html.escape(cell) for cell in line] for line in lines)
    parts = ['<table><tr>' + ''.join(f'<th>{cell}</th>' for cell in heading) + '</tr>']
    parts += ['<tr>' + ''.join(f'<td>{cell}</td>' for cell in line) + '</tr>' for line in rest]
    return '\n'.join([*parts, '</table>'])


def as_html(report: dict) -> str:
    parts = ['<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>Heddle beside its peers</title>',
             '<meta name="viewport" content="width=device-width">', f'<style>{STYLE}</style>',
             '<h1>Heddle beside its peers</h1>', f'<p>{INTRODUCTION}</p>']
    parts += [f'<p><strong>{html.escape(each)}</strong></p>' for each in warnings(report)]
    for experiment in report['experiments']:
        parts.append(f'<h2 id="{experiment["key"]}">{html.escape(experiment["title"])}</h2>')
        if experiment['skipped']:
            parts.append(f'<p class="note">Skipped: {html.escape(experiment["skipped"])}</p>')
            continue
        parts += [plot(experiment), table(cells(experiment))]
        parts += [f'<p class="note">{html.escape(each)}</p>' for each in remarks(experiment)]
    parts += ['<h2>Where and how</h2>', table([['', ''], *map(list, facts(report))]), '</html>']
    return '\n'.join(parts) + '\n'


def markdown_table(lines: list) -> list:
    escaped = [[cell.replace('|', '\\|') for cell in line] for line in lines]
    rows = ['| ' + ' | '.join(line) + ' |' for line in escaped]
    return [rows[0], '|' + '---|' * len(lines[0]), *rows[1:]]


def as_markdown(report: dict) -> str:
    parts = ['# Heddle beside its peers', '', 'Written by `./dev bench --full`.', INTRODUCTION, '']
    parts += [f'**{each}**\n' for each in warnings(report)]
    for experiment in report['experiments']:
        parts += [f'## {experiment["title"]}', '']
        if experiment['skipped']:
            parts += [f'Skipped: {experiment["skipped"]}', '']
            continue
        parts += [*markdown_table(cells(experiment)), '']
        for each in remarks(experiment):
            parts += [each, '']
    parts += ['## Where and how', '', *markdown_table([['', ''], *map(list, facts(report))])]
    return '\n'.join(parts) + '\n'


def as_text(report: dict) -> str:
    parts = warnings(report)
    for experiment in report['experiments']:
        parts += ['', f'{experiment["title"]}, {experiment["unit"]}']
        if experiment['skipped']:
            parts.append(f'  skipped: {experiment["skipped"]}')
            continue
        for line in cells(experiment)[1:]:
            parts.append(f'  {line[0]:34} {line[1]:34} {line[2]}'.rstrip())
    return '\n'.join(parts)
