"""metrics.prom: valid for both parsers, current after every run, without names; dashboard, docs."""

import json
import re
from collections import Counter
from dataclasses import replace

from faceops.identification.metrics import METRICS, PREFIX, metrics_text, mlflow_metrics
from faceops.identification.records.output_folder import METRICS_FILE
from faceops.identification.summary import Drift, Summary

SUMMARY = Summary(
    run_id="20260102T030405Z-abcdef",
    photos_folder='/photos/a "b" \\ c\nd',
    started="2026-01-02T03:04:05+00:00",
    release="models:/faceops/3",
    contract_id="0" * 64,
    budget=0.01,
    threshold=0.9,
    threshold_measured=True,
    runner_up_margin=1.0,
    gallery_people=2,
    gallery_faces=9,
    detail=1280,
    annotate=False,
    xmp=False,
    checked="2026-01-03T03:04:05+00:00",
    photos=10,
    faces=8,
    identified=3,
    unknown=1,
    reasons=Counter(below_threshold=1, empty=2),
    people=Counter({"Ann Private": 2, "Bo Secret": 1}),
    drift=[Drift("share unnamed", 60, [0.5, 0.5], [0.1, 0.9], 0.42, "major", "look")],
    unlisted=["closed"],
    sidecar_errors=["/photos/Ann Private.jpg.xmp"],
    timings={"look": 1.5},
)


def test_both_parsers_read_the_text():
    from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
    from prometheus_client.parser import text_string_to_metric_families as prometheus

    text = metrics_text(SUMMARY.as_dict())
    for parse in (openmetrics, prometheus):
        families = {family.name: family for family in parse(text)}
        assert list(families) == [PREFIX + metric.name for metric in METRICS]
        # Suffixes of OpenMetrics' other types.
        assert not re.search(r"_(total|count|sum|bucket|info)\b", " ".join(families))
        for metric in METRICS:
            family = families[PREFIX + metric.name]
            assert (family.type, family.documentation) == ("gauge", metric.help)
        samples = {
            (sample.name.removeprefix(PREFIX), *list(sample.labels.values())[1:]): sample.value
            for family in families.values()
            for sample in family.samples
        }
        folders = {s.labels["photos_folder"] for f in families.values() for s in f.samples}
        assert folders == {SUMMARY.photos_folder}
        assert samples["photos",] == 10
        assert samples["reason", "empty"] == 2
        assert samples["share_unnamed",] == 0.25
        assert samples["drift", "share_unnamed"] == 0.42
        assert samples["checked_timestamp_seconds",] == 1767409445
        assert samples["people",] == 2 and samples["unlisted_folders",] == 1
        assert samples["part_seconds", "look"] == 1.5
    assert "Private" not in text and "Secret" not in text
    text = metrics_text(replace(SUMMARY, identified=0, unknown=0, drift=[]).as_dict())
    assert not re.search(rf"^{PREFIX}(share_unnamed|drift)\{{", text, re.M)
    decided = Counter(confirmed=2, refused_by_person=1, below_threshold=2)  # not by the model
    summary = replace(SUMMARY, identified=5, unknown=3, reasons=decided)
    assert mlflow_metrics(summary.as_dict())["share_unnamed"] == 2 / (3 + 2)


def test_every_run_writes_it_also_one_that_changes_nothing(run):
    first = run()
    assert (run.out / METRICS_FILE).read_text("utf-8") == metrics_text(first.as_dict())
    (run.out / METRICS_FILE).unlink()  # as of a version before: no reason to do the run again
    again = run()
    assert again.unchanged
    assert (run.out / METRICS_FILE).read_text("utf-8") == metrics_text(again.as_dict())


def test_the_documentation_lists_every_metric(repository):
    page = (repository / "docs/monitoring.md").read_text("utf-8")
    documented = dict(re.findall(rf"^\| `{PREFIX}([^`]+)` \| (.+) \|$", page, re.M))
    label = {metric.name: f"{{{metric.label}}}" if metric.label else "" for metric in METRICS}
    assert documented == {metric.name + label[metric.name]: metric.help for metric in METRICS}


def test_the_dashboard_shows_only_metrics_that_exist(repository):
    dashboard = json.loads((repository / "docs/grafana.json").read_text("utf-8"))
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    named = set(re.findall(rf"{PREFIX}(\w+)", " ".join(expressions)))
    assert named <= {metric.name for metric in METRICS}
    assert all(PREFIX in expression for expression in expressions)
    assert {"checked_timestamp_seconds", "reason", "drift", "share_unnamed"} <= named
    places = [tuple(panel["gridPos"].values()) for panel in dashboard["panels"]]
    assert len(set(places)) == len(places)
