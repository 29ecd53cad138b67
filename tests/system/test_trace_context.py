"""One event is followed through its pipeline's trace: request, decode, commit, visible."""

import json

import pytest
from otlp import Receiver
from pedigraph import deployed, run, until

TRACE, PARENT = "5e0f9c3b7a1d4c2e8b6f00d1a2c3b4e5", "c0ffee1122334455"
CONTEXT = f"00-{TRACE}-{PARENT}-01"


@pytest.fixture
def collector():
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture
def traced(collector):
    """The environment of a server that sends its spans soon."""
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "50"}


def follow(collector, decode, index, context=None):
    """From the span in which an event was decoded to the one that made it visible."""
    context = context or decode.parent
    batch, attributes = until(lambda: collector.linked("batch", context), "the batch linked to the event's context")[0]
    assert attributes == {"pedigraph.index": index} and batch.attributes["index"] <= index
    fold, attributes = until(lambda: collector.linked("fold", batch.id), "the fold linked to the commit")[0]
    assert attributes["pedigraph.index"] <= index and "pedigraph.commit" in attributes
    # A batch ends when everybody is told of it, beside which it is folded.
    assert decode.begin <= batch.begin <= fold.end, "visible last"


def test_from_a_request_to_visible(nodes, collector, traced):
    node = nodes(env=traced)
    answer = node.post(json.dumps(deployed("api", "r.example/api:3", id_="trace-http")).encode(), "application/cloudevents+json",
                       headers={"traceparent": CONTEXT}, wait="visible")
    assert answer.status_code == 201, answer.text
    (request,) = until(lambda: [span for span in collector.named("request") if span.trace == TRACE], "the request's span")
    assert request.parent == PARENT, "under the caller's span"
    assert answer.headers["traceparent"] == f"00-{TRACE}-{request.id}-01"
    (decode,) = until(lambda: [span for span in collector.named("decode") if span.trace == TRACE], "the event's decoding")
    assert decode.parent == request.id
    follow(collector, decode, answer.json()["index"])


@pytest.mark.parametrize("mode", ["structured", "binary"])
def test_the_extension_of_an_event_is_followed(nodes, collector, traced, mode):
    node = nodes(env=traced)
    event = deployed("cart", "r.example/cart:5", id_=f"trace-{mode}")
    if mode == "structured":
        body, kind, headers = event | {"traceparent": CONTEXT}, "application/cloudevents+json", {}
    else:
        headers = {f"ce-{name}": value for name, value in event.items() if isinstance(value, str) and name != "datacontenttype"}
        body, kind, headers = event["data"], "application/json", headers | {"ce-traceparent": CONTEXT}
    answer = node.post(json.dumps(body).encode(), kind, headers=headers, wait="visible")
    assert answer.status_code == 201 and answer.json()["status"] == "accepted", answer.text
    linked = until(lambda: collector.linked("decode", PARENT), "the decoding linked to the event's context")
    assert len(linked) == 1 and linked[0][0].trace != TRACE, "decoded in the request's trace"
    follow(collector, linked[0][0], answer.json()["index"], PARENT)


def test_the_command_line_is_in_its_callers_trace(nodes, collector, traced):
    node = nodes(env=traced)
    done = run("env", url=node.url, TRACEPARENT=CONTEXT)
    assert done.returncode == 0, done.stderr.decode()
    until(lambda: [span for span in collector.named("request") if (span.trace, span.parent) == (TRACE, PARENT)], "the request's span")


def test_without_a_collector_only_the_log_names_the_callers_trace(nodes):
    node = nodes(env={"RUST_LOG": "pedigraph_query_api=debug,info"})
    answer = node.post(json.dumps(deployed("api", "r.example/api:4", id_="untraced")).encode(), "application/cloudevents+json",
                       headers={"traceparent": CONTEXT})
    assert answer.status_code == 201 and "traceparent" not in answer.headers
    until(lambda: [line for line in node.log.read_text().splitlines() if "answered" in line and TRACE in line and PARENT in line], "the log's line")


def test_from_a_kafka_header_to_visible(nodes, broker, topic, collector, traced):
    (name,) = broker.create(topic("events"), partitions=1)
    node = nodes(kafka=broker.address, topics=[name], group=topic("group"), env=traced)
    producer = broker.producer()
    producer.send(name, json.dumps(deployed("worker", "r.example/worker:8", id_="trace-kafka")).encode(), headers=[("traceparent", CONTEXT.encode())])
    producer.flush()
    node.wait_size(1)
    (decode,) = until(lambda: [span for span in collector.named("decode") if span.trace == TRACE], "the event's decoding", 60)
    assert decode.parent == PARENT and decode.attributes["source"] == name
    follow(collector, decode, 0)
