"""`python -m distpg.report.metrics_page > docs/metrics.md`: the tables of tags and of charts."""

import sys
from collections.abc import Iterable, Iterator
from itertools import groupby

from distpg.report.charts import CHARTS
from distpg.report.metrics import METRICS, OTHERS, Metric
from distpg.report.texts import table

HEAD = """\
# Metrics

Every tag that a run writes for TensorBoard; x is env steps. Generated from the tables in
[distpg/report/metrics.py](../distpg/report/metrics.py) by
`python -m distpg.report.metrics_page > docs/metrics.md`."""


def page() -> Iterator[str]:
    """Yield the lines of docs/metrics.md."""
    yield HEAD
    for group, metrics in groupby(METRICS, key=lambda metric: metric.tag.partition("/")[0]):
        yield from ("", f"## {group}", "", *rows_of(metrics))
    yield from ("", "## Histograms and texts", "", *rows_of(OTHERS))
    yield from ("", "## Custom Scalars", "", "A chart is there once it has a value.", "")
    yield from table(("question", "charts"), [(x, ", ".join(y)) for x, y in CHARTS.items()])


def rows_of(metrics: Iterable[Metric]) -> list[str]:
    """Return the lines of a table."""
    rows = [(f"`{tag}`", unit, meaning, chart) for tag, unit, meaning, chart in metrics]
    return table(("tag", "unit", "meaning", "chart"), rows)


if __name__ == "__main__":
    sys.stdout.write("\n".join([*page(), ""]))
