"""The documentation, alert rules and dashboard speak of metrics that there are, and of all of them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock

from appliance.clock import utc_now
from appliance.ops.metrics.collector import Sources, families
from appliance.ops.metrics.counts import FAULTS, Counts
from appliance.ops.metrics.survey import Survey

ROOT = Path(__file__).parents[4]
DASHBOARD = ROOT / "etc" / "grafana-dashboard.json"
ALERTS = ROOT / "etc" / "alerts.yml"

_NAME = re.compile(r"\b(?:appliance|process)_[a-z_]+[a-z]\b")


def names() -> set[str]:
    """Of everything Prometheus gets."""
    counts = Counts(5)
    counts.reloaded(1.0, True)
    found = set()
    for family in families(Sources(counts, Survey(Clock(), utc_now), 5)):
        ends = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}.get(family.type, [""])
        found |= {family.name + end for end in ends}
    return found


NAMES = names()


def expressions(of: Any) -> Iterator[str]:
    """All that a dashboard asks Prometheus."""
    if isinstance(of, dict):
        for key, value in of.items():
            if key in ("expr", "definition"):
                yield value
            else:
                yield from expressions(value)
    elif isinstance(of, list):
        for each in of:
            yield from expressions(each)


QUESTIONS = list(expressions(json.loads(DASHBOARD.read_text())))


def promtool(*arguments: str | Path) -> None:
    """Have it check something."""
    program = shutil.which("promtool")
    assert program is not None, "apt-get install prometheus"
    ended = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_documentation() -> None:
    """Each metric of ours has its paragraph, and each paragraph a metric."""
    text = (ROOT / "docs" / "metrics.rst").read_text()
    documented = {name for line in text.splitlines() if line.startswith("``appliance_") for name in _NAME.findall(line)}
    ours = {name.removesuffix("_bucket") for name in NAMES if name.startswith("appliance_")}
    assert documented == {name for name in ours if not re.search(r"seconds_(?:count|sum)$", name)}


def test_faults_are_documented() -> None:
    """Each word that may stand in the label has its explanation, and there are no others."""
    _, _, text = (ROOT / "docs" / "metrics.rst").read_text().partition("appliance_request_faults_total``")
    paragraph = text.partition("``appliance_")[0]
    assert set(re.findall("``([a-z0-9]+)``", paragraph)) - {"by"} == FAULTS


def test_alerts() -> None:
    """promtool reads the rules; they ask for what there is."""
    promtool("check", "rules", ALERTS)
    asked = {name for line in ALERTS.read_text().splitlines() if "summary" not in line for name in _NAME.findall(line)}
    assert asked <= NAMES | {name.removesuffix("_bucket") for name in NAMES}


@pytest.mark.parametrize("question", sorted({re.sub(r"label_values\((.*), \w+\)", r"\1", each) for each in QUESTIONS}))
def test_dashboard(question: str) -> None:
    """Every question is about what there is."""
    assert set(_NAME.findall(question)) <= NAMES
    assert _NAME.search(question)


def test_dashboard_as_rules(tmp_path: Path) -> None:
    """Every question is one that Prometheus understands."""
    rules = []
    for number, question in enumerate(QUESTIONS):
        if "label_values" in question:
            continue
        plain = question.replace("$__rate_interval", "5m").replace("$instance", ".*").replace("$site", ".*")
        rules.append({"record": f"asked_{number}", "expr": plain})
    file = tmp_path / "rules.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))  # JSON is YAML
    promtool("check", "rules", file)
    assert len(rules) > 20


def test_alerts_come(tmp_path: Path) -> None:
    """A few of them, in histories that are wrong and right: they come when they should, and only then."""
    labels = 'instance="i", job="appliance"'
    failing, fine = f'{{site="a", {labels}}}', f'{{site="b", {labels}}}'
    series = [
        (f"appliance_certificate_not_after_timestamp_seconds{failing}", "500000+0x2000"),
        (f"appliance_certificate_failures{failing}", "4+0x2000"),
        (f"appliance_certificate_not_after_timestamp_seconds{fine}", "7000000+0x2000"),
        (f"appliance_certificate_failures{fine}", "0+0x2000"),
        (f'appliance_upstream_up{{upstream="a", address="x", {labels}}}', "0+0x2000"),
        (f'appliance_upstream_up{{upstream="a", address="y", {labels}}}', "1+0x2000"),
        (f'appliance_upstream_up{{upstream="b", address="z", {labels}}}', "0+0x2000"),
        (f'appliance_requests_total{{site="a", method="GET", code="200", {labels}}}', "0+60x2000"),
        (f'appliance_requests_total{{site="a", method="GET", code="502", {labels}}}', "0+6x2000"),
        (f'appliance_requests_total{{site="b", method="GET", code="200", {labels}}}', "0+60x2000"),
        (f'appliance_requests_total{{site="b", method="GET", code="502", {labels}}}', "0+1x2000"),
    ]
    expected = {
        "ApplianceCertificateEndsSoon": [{"site": "a"}],
        "ApplianceCertificateEnded": [],
        "ApplianceUpstreamDown": [{"upstream": "a", "address": "x"}, {"upstream": "b", "address": "z"}],
        "ApplianceAllUpstreamsDown": [{"upstream": "b"}],
        "ApplianceErrors": [{"site": "a"}],
        "ApplianceRenewalFailing": [{"site": "a"}],
    }
    questions = [
        {
            "expr": f'count by (site, upstream, address) (ALERTS{{alertname="{name}", alertstate="firing"}})',
            "eval_time": "2h",
        }
        for name in expected
    ]
    for question, alerts in zip(questions, expected.values(), strict=True):
        question["exp_samples"] = [  # type: ignore[assignment]
            {"labels": "{" + ", ".join(f'{key}="{value}"' for key, value in alert.items()) + "}", "value": 1}
            for alert in alerts
        ]
    file = tmp_path / "tests.yml"
    file.write_text(
        json.dumps(
            {
                "rule_files": [str(ALERTS)],
                "evaluation_interval": "1m",
                "tests": [
                    {
                        "interval": "1m",
                        "input_series": [{"series": name, "values": values} for name, values in series],
                        "promql_expr_test": questions,
                    }
                ],
            }
        )
    )
    promtool("test", "rules", file)
