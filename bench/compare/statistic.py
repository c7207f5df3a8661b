"""What compare.py makes of its figures: medians, ranges, and ratios of the same round."""

import statistics


def spread(values: list) -> dict:
    return {'median': statistics.median(values), 'min': min(values), 'max': max(values)}


def usable(runs: list) -> list:
    return [run for run in runs if 'refused' not in run]


def metric(run: dict) -> float:
    return run['kib'] if 'kib' in run else run['cpu_us']


def ratios(runs: list, base: list) -> list:
    """Round by round, where both were measured."""
    return [metric(run) / metric(other) for run, other in zip(runs, base)
            if 'refused' not in run and 'refused' not in other and metric(other) > 0]


def row_of(label: str, runs: list, base: list) -> dict:
    good = usable(runs)
    row = {'label': label, 'runs': runs}
    refused = [run['refused'] for run in runs if 'refused' in run]
    if refused:
        row['refused'] = f'{len(refused)} of {len(runs)} rounds: {refused[0]}'
    if not good:
        return row
    row['value'] = spread([metric(run) for run in good])
    pairs = ratios(runs, base)
    if pairs:
        row['ratio'] = spread(pairs)
    if 'per_second' in good[0]:
        row['per_second'] = statistics.median(run['per_second'] for run in good)
        row['p50_us'] = statistics.median(run['latency_us']['p50'] for run in good)
        row['p99_us'] = statistics.median(run['latency_us']['p99'] for run in good)
        row['session'] = good[0]['session']
    return row


def of(experiment, seen: dict, skipped: str) -> dict:
    """The results of one experiment, as data."""
    rows = []
    for row in experiment.rows:
        what = seen.get(row.label, {'skipped': skipped or 'not measured'})
        if 'skipped' in what:
            rows.append({'label': row.label, 'skipped': what['skipped']})
            continue
        base = seen.get(row.baseline, {}).get('runs', [])
        rows.append({**row_of(row.label, what['runs'], base), 'baseline': row.baseline})
    return {'key': experiment.key, 'title': experiment.title, 'unit': experiment.unit, 'note': experiment.note,
            'skipped': skipped, 'rows': rows}


def complete(report: dict) -> bool:
    """Whether every row that was tried has a figure."""
    return all('skipped' in row or 'value' in row for each in report['experiments'] for row in each['rows'])
