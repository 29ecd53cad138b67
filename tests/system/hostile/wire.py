"""HTTP as attackers and the neighbour speak it: `http.client` for requests that are right, sockets for those that are not."""

import http.client
import json
import socket
from urllib.parse import quote, urlencode, urlsplit

CLOUDEVENT = "application/cloudevents+json"
NDJSON = "application/x-ndjson"
DIGEST = "sha256:%064x"


def event(type_, data, id_, source="hostile", **more):
    """A structured CloudEvent of our own type, as bytes."""
    envelope = {"specversion": "1.0", "id": id_, "source": source, "type": f"io.pedigraph.{type_}.v1", **more}
    return json.dumps({**envelope, "datacontenttype": "application/json", "data": data}).encode()


class Answer:
    """What came back: status, headers by lower-case name, body."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)

    @property
    def code(self):
        """The code of a problem; nothing where the answer is none."""
        return self.json().get("code") if self.headers.get("content-type", "").startswith("application/problem+json") else None

    def __repr__(self):
        return f"{self.status} {self.body[:300]!r}"


class Client:
    """One connection that is kept and made anew when the server has closed it. For one thread."""

    def __init__(self, url, token=None, timeout=30, source=""):
        parts = urlsplit(url)
        self.address, self.source = (parts.hostname, parts.port), (source, 0)
        self.headers = {"authorization": f"Bearer {token}"} if token else {}
        self.connection = http.client.HTTPConnection(*self.address, timeout=timeout, source_address=self.source)

    def ask(self, method, path, body=None, content_type=None, headers=None, **query):
        if query:
            path += "?" + urlencode({name.rstrip("_"): value for name, value in query.items()}, quote_via=quote)
        headers = {**self.headers, **({"content-type": content_type} if content_type else {}), **(headers or {})}
        fresh = self.connection.sock is None
        try:
            return self._once(method, path, body, headers)
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
            self.connection.close()
            if fresh:
                raise
        # An idle connection that the server closed: what was sent never arrived, or is a duplicate now.
        return self._once(method, path, body, headers)

    def _once(self, method, path, body, headers):
        try:
            self.connection.request(method, path, body, headers)
            answer = self.connection.getresponse()
            return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        except BaseException:
            self.connection.close()
            raise

    def get(self, path, **query):
        return self.ask("GET", path, **query)

    def post(self, body, content_type=CLOUDEVENT, path="/api/v1/events", **more):
        return self.ask("POST", path, body, content_type, **more)

    def connect(self, receive=None, timeout=30):
        """A socket of one's own; `receive`: bytes that the kernel may take in before the other side has to wait."""
        sock = socket.socket()
        if receive:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
        sock.settimeout(timeout)
        sock.bind(self.source)
        sock.connect(self.address)
        return sock

    def head(self, method, path, *lines):
        """A request's head with host and token."""
        own = [f"{name}: {value}" for name, value in self.headers.items()]
        return "\r\n".join([f"{method} {path} HTTP/1.1", "host: localhost", *own, *lines, "", ""]).encode()

    def raw(self, data, timeout=30):
        """Sends bytes as they are; the status line's number and all bytes that came until the other side closed."""
        with self.connect(timeout=timeout) as sock:
            try:
                sock.sendall(data)
            except OSError:
                pass  # refused while it was sent: the answer says why
            came = b""
            try:
                while part := sock.recv(65536):
                    came += part
            except (ConnectionResetError, TimeoutError):
                pass
        return int(came.split(b" ", 2)[1]) if came.startswith(b"HTTP/1.") else None, came
