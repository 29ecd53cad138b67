"""The deploy files, checked as far as that goes without a cluster."""

import http.server
import json
import re
import shutil
import subprocess
import sys
import threading
import tomllib
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm" / "pedigraph"


def run(*command, **more):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, **more)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def tool(name):
    found = shutil.which(name)
    if not found:
        pytest.skip(f"{name} is not here")
    return found


def test_compose_follows_its_schema():
    run(Path(sys.prefix) / "bin/check-jsonschema", "--builtin-schema", "vendor.compose-spec",
        DEPLOY / "compose/compose.yaml")


def test_compose_serves_loopback_and_publishes_only_the_proxy():
    services = yaml.safe_load((DEPLOY / "compose/compose.yaml").read_text())["services"]
    assert "127.0.0.1:8080" in services["pedigraph"]["command"], "without credentials only loopback is served"
    assert services["proxy"]["network_mode"] == "service:pedigraph"
    assert all(port.startswith("127.0.0.1:") for port in services["pedigraph"]["ports"])
    topics = services["topics"]["command"][0]
    for topic in ("pedigraph.ci", "pedigraph.cd", "pedigraph.scanner", "pedigraph.runtime"):
        assert topic in topics


def test_chart_and_compose_have_the_same_proxy():
    proxy = (DEPLOY / "compose/proxy.conf").read_text()
    chart = (CHART / "templates/configmap.yaml").read_text().split("default.conf: |\n", 1)[1]
    assert [line.strip() for line in chart.splitlines()] == [line.strip() for line in proxy.splitlines()]


def test_chart_values():
    schema = json.loads((CHART / "values.schema.json").read_text())
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    validator.validate(values)
    # One argument has them all, joined by commas, and the program refuses what cannot be the name of a field.
    fields = [{**values, "redact": {"fields": [field]}} for field in ("a,b", "a..b", "", 'a"b', "a b")]
    validator.validate({**values, "redact": {"fields": ["password", "customData.deploy.token"]}})
    for wrong in ({**values, "replicas": 3}, {**values, "kafka": {"brokers": "nonsense"}}, {**values, "storage": {"size": "much"}}, {**values, "views": {"store": "redb"}}, *fields):
        assert not validator.is_valid(wrong), wrong
    used = set(re.findall(r"\.Values\.([\w.]+)", "".join(file.read_text() for file in (CHART / "templates").iterdir())))
    for path in used:
        value = values
        for key in path.split("."):
            assert key in value, f"templates use .Values.{path}, values.yaml does not have it"
            value = value[key]


def test_the_chart_s_arguments_are_options_of_the_program():
    template = (CHART / "templates/statefulset.yaml").read_text()
    options = set(re.findall(r"--([a-z][a-z-]+)=", template.split("args:", 1)[1].split("securityContext:", 1)[0]))
    assert {"data", "kafka", "redact-fields", "accept-gap"} <= options
    known = set(re.findall(r"pub\(crate\) (\w+):", (ROOT / "src/arguments.rs").read_text()))
    assert {option.replace("-", "_") for option in options} <= known


def test_chart_has_the_program_s_version():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    version = re.search(r'^version = "(.+)"$', (ROOT / "Cargo.toml").read_text(), re.M).group(1)
    assert chart["appVersion"] == version


if shutil.which("helm"):

    @pytest.mark.parametrize("values", ["proxy.passwordSecret=secret", "tokens.secret=secret"])
    def test_chart_renders(tmp_path, values):
        rendered = tmp_path / "rendered.yaml"
        rendered.write_text(run("helm", "template", "test", CHART, "--set", f"{values},kafka.brokers=kafka:9092", "--set", "redact.fields={password,deploy.token}"))
        run(Path(sys.prefix) / "bin/kubernetes-validate", "--strict", rendered)
        assert '"--redact-fields=password,deploy.token"' in rendered.read_text()
        [stateful] = [part for part in yaml.safe_load_all(rendered.read_text()) if part["kind"] == "StatefulSet"]
        served = {container["name"]: container for container in stateful["spec"]["template"]["spec"]["containers"]}
        if values.startswith("tokens"):
            assert set(served) == {"pedigraph"} and "--tokens=/etc/pedigraph/tokens.toml" in served["pedigraph"]["args"]
        else:
            assert "--listen=127.0.0.1:8080" in served["pedigraph"]["args"] and "ports" not in served["pedigraph"]
        assert [list(container["ports"]) for container in served.values() if "ports" in container and "readinessProbe" in container]


def test_unit(tmp_path):
    analyze = tool("systemd-analyze")
    unit = tmp_path / "pedigraph.service"
    text = (DEPLOY / "systemd/pedigraph.service").read_text()
    assert "ExecStart=/usr/bin/pedigraph up" in text
    # The program need not be installed for the rest of the unit to be verified.
    unit.write_text(text.replace("/usr/bin/pedigraph", shutil.which("true")))
    run(analyze, "verify", "--man=no", unit)
    report = subprocess.run([analyze, "security", "--offline=true", "--threshold=20", unit], capture_output=True, text=True, check=False)
    assert report.returncode == 0, report.stdout[-500:]


def rules():
    groups = yaml.safe_load((DEPLOY / "prometheus/pedigraph.rules.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_alert_rules():
    promtool = tool("promtool")
    run(promtool, "check", "rules", "pedigraph.rules.yaml", cwd=DEPLOY / "prometheus")
    run(promtool, "test", "rules", "pedigraph.rules.test.yaml", cwd=DEPLOY / "prometheus")


def test_every_alert_has_its_page():
    headings = {line.lstrip("# ").strip().lower().replace(" ", "-") for line in (DEPLOY / "runbook.md").read_text().splitlines() if line.startswith("## ")}
    for rule in rules():
        path, anchor = rule["annotations"]["runbook_url"].split("#")
        assert path == "deploy/runbook.md" and anchor == rule["alert"].lower() and anchor in headings, rule["alert"]
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"]["summary"]


def dashboard():
    return json.loads((DEPLOY / "grafana/pedigraph.json").read_text())


def test_dashboard_is_sound():
    board = dashboard()
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert board["templating"]["list"][0] == {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}
    places = set()
    for panel in panels:
        grid = panel["gridPos"]
        cells = {(x, y) for x in range(grid["x"], grid["x"] + grid["w"]) for y in range(grid["y"], grid["y"] + grid["h"])}
        assert not cells & places and grid["x"] + grid["w"] <= 24, panel["title"]
        places |= cells
        for target in panel.get("targets", ()):
            assert target["datasource"]["uid"] == "${datasource}"
            assert "{{" not in target["expr"]


def test_dashboard_expressions_parse(tmp_path):
    promtool = tool("promtool")
    expressions = [target["expr"] for panel in dashboard()["panels"] for target in panel.get("targets", ())]
    checked = [{"record": f"dashboard:{n}", "expr": expr.replace("$__rate_interval", "5m").replace("$instance", ".*")} for n, expr in enumerate(expressions)]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": checked}]}))
    run(promtool, "check", "rules", file)


def test_probes_ask_for_intake_alone():
    """Nobody who sends is refused because the views are folded anew."""
    probes = (CHART / "templates/_helpers.tpl").read_text()
    assert re.findall(r"path: (\S+)", probes) == ["/livez", "/livez", "/readyz?for=intake"]
    described = json.loads((ROOT / "query-api/openapi.json").read_text())["paths"]["/readyz"]["get"]["parameters"]
    assert {"intake", "answers"} == set(next(one for one in described if one["name"] == "for")["schema"]["enum"])


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False), (None, False)])
def test_compose_asks_whether_intake_is_ready(status, healthy):
    """The command of the health check, against a server that answers so."""
    asked = []

    class Ready(http.server.BaseHTTPRequestHandler):
        def do_GET(self):  # noqa: N802
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Ready) as server:
        Ready.protocol_version = "HTTP/1.1"
        test = yaml.safe_load((DEPLOY / "compose/compose.yaml").read_text())["services"]["pedigraph"]["healthcheck"]["test"]
        assert test[0] == "CMD" and "/dev/tcp/127.0.0.1/8080" in test[-1]
        command = [*test[1:-1], test[-1].replace("$$", "$").replace("/8080", f"/{server.server_port}")]
        if status is None:
            server.server_close()
        else:
            threading.Thread(target=server.handle_request, daemon=True).start()
        assert (subprocess.run(command, capture_output=True, timeout=20, check=False).returncode == 0) is healthy
    assert asked == ([] if status is None else ["/readyz?for=intake"])


def test_container_runs_without_root():
    text = (DEPLOY / "Dockerfile").read_text()
    assert re.search(r"^USER 65532:65532$", text, re.M)
    assert "--locked" in text


def test_dependency_policy_gives_reasons():
    policy = tomllib.loads((ROOT / "deny.toml").read_text())
    assert all(entry.get("reason") for entry in [*policy["advisories"]["ignore"], *policy["bans"]["skip"], *policy["bans"]["deny"]])
    assert policy["bans"]["multiple-versions"] == "deny"
