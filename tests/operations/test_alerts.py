"""The alerts of docs/operations/recblr.rules.yml, by Prometheus' own tool."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.docs.pages import ROOT, replaced, text_under
from tests.docs.test_pages import exported_metrics

FOLDER = ROOT / "docs" / "operations"
RULES = FOLDER / "recblr.rules.yml"
PAGE = FOLDER / "logs-and-alerts.md"
WHERE = 'job="recblr", instance="a"'
REQUESTS = "recblr_http_request_seconds"
DAY = 86400

# Series that let each alert fire, a value a minute; in "start+stepxcount" the value grows.
FIRING = {
    "RecblrDown": {f"up{{{WHERE}}}": "1 1 0x28"},
    "RecblrErrors": {
        f'{REQUESTS}_count{{{WHERE}, status="200"}}': "0+1000x30",
        f'{REQUESTS}_count{{{WHERE}, status="503"}}': "0+20x30",
    },
    "RecblrStoreErrors": {f'recblr_store_errors_total{{{WHERE}, operation="append"}}': "0+1x30"},
    "RecblrStoreFills": {f"recblr_store_memory_used_ratio{{{WHERE}}}": "0.5+0.03x30"},
    "RecblrOverloaded": {f'recblr_deadline_exceeded_total{{{WHERE}, stage="store"}}': "0+3x30"},
    "RecblrSlow": {
        f'{REQUESTS}_bucket{{{WHERE}, le="0.25"}}': "0+98x30",
        f'{REQUESTS}_bucket{{{WHERE}, le="1.0"}}': "0+100x30",
        f'{REQUESTS}_bucket{{{WHERE}, le="+Inf"}}': "0+100x30",
    },
    "RecblrCatalogueOld": {f"recblr_catalogue_age_seconds{{{WHERE}}}": "20+60x30"},
    "RecblrStreamLag": {f"recblr_stream_lag{{{WHERE}}}": "2000x30"},
    "RecblrItemStreamLag": {f"recblr_item_stream_lag{{{WHERE}}}": "2000x30"},
    "RecblrSnapshotsDamaged": {f"recblr_snapshots_damaged_total{{{WHERE}}}": "0x20 1x10"},
    "RecblrVersionsDiffer": {
        f'recblr_model_info{{job="recblr", instance="{machine}", version="{version}"}}': "1x30"
        for machine, version in (("a", "v1"), ("a", "v2"), ("b", "v3"))
    },
    "RecblrRetrainLate": {"recblr_retrain_last_success_timestamp_seconds": f"{-3 * DAY}x30"},
    "RecblrRetrainFailed": {'recblr_retrain_outcome{outcome="failed"}': "1x30"},
}
QUIET = {
    f"up{{{WHERE}}}": "1x30",
    f'{REQUESTS}_count{{{WHERE}, status="200"}}': "0+1000x30",
    f'{REQUESTS}_count{{{WHERE}, status="503"}}': "0+5x30",
    f'{REQUESTS}_bucket{{{WHERE}, le="0.25"}}': "0+1000x30",
    f'{REQUESTS}_bucket{{{WHERE}, le="+Inf"}}': "0+1005x30",
    f'recblr_store_errors_total{{{WHERE}, operation="append"}}': "7x30",
    f'recblr_queue_rejected_total{{{WHERE}, stage="store"}}': "7x30",
    f"recblr_store_memory_used_ratio{{{WHERE}}}": "0.7x30",
    f"recblr_catalogue_age_seconds{{{WHERE}}}": "0.1 20 0.1x28",
    f"recblr_stream_lag{{{WHERE}}}": "5000 0x5 5000 0x23",
    f"recblr_item_stream_lag{{{WHERE}}}": "5000 0x5 5000 0x23",
    f"recblr_snapshots_damaged_total{{{WHERE}}}": "3x30",
    f'recblr_model_info{{{WHERE}, version="v1"}}': "1x30",
    f'recblr_model_info{{{WHERE}, version="v2"}}': "1x30",
    "recblr_retrain_last_success_timestamp_seconds": f"{-DAY}x30",
    'recblr_retrain_outcome{outcome="failed"}': "0x30",
}


def promtool(*arguments: object) -> subprocess.CompletedProcess[str]:
    if shutil.which("promtool") is None:
        raise RuntimeError("promtool is not installed; `make programs` installs it")
    return subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, check=False)


def check(folder: Path, series: dict[str, str], expression: str, expected: int | None) -> None:
    """Let promtool evaluate an expression after 25 minutes of `series`."""
    test: dict[str, Any] = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": expression,
                "eval_time": "25m",
                "exp_samples": [] if expected is None else [{"labels": "{}", "value": expected}],
            }
        ],
    }
    file = folder / "test.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [test]}))
    done = promtool("test", "rules", file)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("alert", FIRING)
def test_alert_fires(alert: str, tmp_path: Path) -> None:
    check(tmp_path, FIRING[alert], f'count(ALERTS{{alertname="{alert}", alertstate="firing"}})', 1)


def test_healthy_service_fires_no_alert(tmp_path: Path) -> None:
    check(tmp_path, QUIET, 'count(ALERTS{alertstate="firing"})', None)


def test_every_alert_is_tested_and_on_the_page() -> None:
    names = [rule["alert"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    assert sorted(FIRING) == sorted(names)
    assert re.findall(r"^\| `(Recblr\w+)`", PAGE.read_text(), re.MULTILINE) == names


def test_metrics_of_the_alerts_exist() -> None:
    named = set(re.findall(r"\brecblr_[a-z_]+", RULES.read_text()))
    endings = r"_(total|count|bucket|sum)$"
    assert {re.sub(endings, "", name) for name in named} <= {re.sub(endings, "", n) for n in exported_metrics()}


def test_scrape_configuration_of_the_page_is_valid(tmp_path: Path) -> None:
    (tmp_path / "recblr.key").write_text("a key")
    names = {"/etc/prometheus/recblr.key": tmp_path / "recblr.key"}
    (tmp_path / "prometheus.yml").write_text(replaced(text_under(PAGE, "Alerts"), names))
    shutil.copy(RULES, tmp_path)
    done = promtool("check", "config", tmp_path / "prometheus.yml")
    assert done.returncode == 0, done.stdout + done.stderr
