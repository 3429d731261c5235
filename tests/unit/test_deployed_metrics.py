"""The dashboard and the alert rules: Prometheus can read every expression, and every metric in them exists."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import promql_parser
import pytest
import yaml

from tests.documents import REPOSITORY

DASHBOARD = REPOSITORY / "deploy" / "grafana-dashboard.json"
ALERTS = REPOSITORY / "deploy" / "prometheus-alerts.yaml"
METRICS = REPOSITORY / "docs" / "metrics.md"


def known() -> dict[str, set[str]]:
    """The labels of each metric in docs/metrics.md, which a test holds to the code; and of those of any process."""
    rows = re.findall(r"^\| `(dropscribe_\w+)` \| \w+ \|([^|]*)\|", METRICS.read_text(encoding="utf-8"), re.MULTILINE)
    found = {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}
    return found | {"process_resident_memory_bytes": set()}


def alerts() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    return list(group["rules"])


def panels() -> list[dict[str, Any]]:
    return list(json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"])


def expressions() -> Iterator[str]:
    yield from (rule["expr"] for rule in alerts())
    yield from (target["expr"] for panel in panels() for target in panel["targets"])


def selectors(expression: Any) -> Iterator[Any]:
    """All places where metrics are picked."""
    if isinstance(expression, promql_parser.VectorSelector):
        yield expression
        return
    for name in ("expr", "lhs", "rhs", "param", "vs", "vector_selector"):
        part = getattr(expression, name, None)
        if isinstance(part, promql_parser.Expr):
            yield from selectors(part)
    for argument in getattr(expression, "args", ()):
        yield from selectors(argument)


@pytest.mark.parametrize("expression", list(expressions()))
def test_every_expression_parses_and_picks_metrics_that_exist(expression: str) -> None:
    labels = known()
    picked = list(selectors(promql_parser.parse(expression)))
    assert {one.name for one in picked} == set(re.findall(r"\b(?:dropscribe|process)_\w+", expression))
    for one in picked:
        assert one.name in labels
        assert {matcher.name for matcher in one.matchers.matchers} <= labels[one.name]


def test_a_metric_or_label_that_does_not_exist_would_be_noticed() -> None:
    (picked,) = selectors(promql_parser.parse('sum(rate(dropscribe_jbos{stat="x"}[5m])) > 0'))
    assert picked.name not in known()
    assert [matcher.name for matcher in picked.matchers.matchers] == ["stat"]
    with pytest.raises(ValueError, match="unclosed"):
        promql_parser.parse("max(dropscribe_jobs")


def test_every_alert_says_what_it_is_and_what_to_do() -> None:
    names = [rule["alert"] for rule in alerts()]
    assert len(set(names)) == len(names)
    for rule in alerts():
        assert rule["alert"].startswith("Dropscribe")
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["annotations"].keys() == {"summary", "description"}
        assert promql_parser.parse_duration(rule.get("for", "1m"))


def test_the_dashboard_has_the_form_that_grafana_imports() -> None:
    assert len({panel["id"] for panel in panels()}) == len(panels())
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        place = panel["gridPos"]
        cells = {
            (column, line)
            for column in range(place["x"], place["x"] + place["w"])
            for line in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(column for column, _ in cells) < 24
        taken |= cells
        assert panel["datasource"]["uid"] == "${datasource}"
