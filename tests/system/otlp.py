"""A receiver of OTLP/HTTP: what a server tells of its spans, decoded."""

import http.server
import threading
import zlib

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Span:
    """One span, with what tests look at."""

    def __init__(self, span):
        self.name = span.name
        self.trace, self.id, self.parent = span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex()
        self.attributes = _attributes(span.attributes)
        self.links = [(link.trace_id.hex(), link.span_id.hex(), _attributes(link.attributes)) for link in span.links]
        self.begin, self.end = span.start_time_unix_nano, span.end_time_unix_nano

    def __repr__(self):
        return f"{self.name} {self.trace[:6]}/{self.id[:6]} under {self.parent[:6]} links {self.links} {self.attributes}"


def _attributes(pairs):
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


class Receiver:
    """Collects spans on a port of its own until it is closed."""

    def __init__(self):
        self.spans = []
        collected = self.spans

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = zlib.decompress(body, 31)
                request = ExportTraceServiceRequest.FromString(body)
                for resource in request.resource_spans:
                    for scope in resource.scope_spans:
                        collected.extend(Span(span) for span in scope.spans)
                self.send_response(200)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def named(self, name, **attributes):
        return [span for span in list(self.spans) if span.name == name and all(span.attributes.get(k) == v for k, v in attributes.items())]

    def linked(self, name, to):
        """Spans of a name with a link to a span: (span, the link's attributes)."""
        return [(span, attributes) for span in self.named(name) for _, of, attributes in span.links if of == to]
