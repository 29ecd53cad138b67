"""Dashboards and alerts name only metrics that a running server has."""

import json
import re

import yaml
from pedigraph import ROOT, deployed, problem

NAME = re.compile(r"\b((?:pedigraph|sbom_lineage|vex)_[a-z0-9_]+)")


def named():
    board = json.loads((ROOT / "deploy/grafana/pedigraph.json").read_text())
    expressions = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
    groups = yaml.safe_load((ROOT / "deploy/prometheus/pedigraph.rules.yaml").read_text())["groups"]
    expressions += [rule["expr"] for group in groups for rule in group["rules"]]
    return {name for expression in expressions for name in NAME.findall(expression)}


def test_every_metric_that_is_named_exists(shared):
    shared.accept(json.dumps(deployed("metrics", "r.example/app:1")).encode(), wait="visible")
    problem(shared.post(b"{no"), 422)
    shared.get("/api/v1/environments")
    shared.wait_visible()
    text = shared.get("/metrics").text
    known = set(re.findall(r"^# TYPE (\S+)", text, re.M)) | set(re.findall(r"^([a-z_0-9]+)[ {]", text, re.M))
    # What is there only with sources, tokens or two processes: test_kafka, test_access and test_split look for it.
    missing = {name for name in named() if name not in known and not name.startswith(("pedigraph_source_", "pedigraph_token_", "pedigraph_writer_"))}
    assert not missing, missing
    assert 'pedigraph_visible_after_seconds{quantile="0.5"}' in text, "the label by which alert and dashboard ask"


def test_exposition_is_what_prometheus_reads(shared):
    samples = 0
    for line in shared.get("/metrics").text.splitlines():
        if line and not line.startswith("#"):
            assert re.fullmatch(r"[a-zA-Z_:][\w:]*(\{[^{}]*\})? (NaN|[+-]?Inf|[-+0-9.eE]+)", line), line
            samples += 1
    assert samples > 20
