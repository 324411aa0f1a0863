"""A server for the tests of HTTP out of the sandbox.

It answers as an echo, misbehaves on demand, and plays the services that the packages of
the default runtime talk to. Listens on a free port of 127.0.0.1 and prints the port;
with a certificate and its key (PEM files) as arguments, for HTTPS.
"""

import base64
import gzip
import hashlib
import http.server
import json
import socket
import ssl
import struct
import sys
import threading
import urllib.parse
import zlib


#: Parts of chunked bodies have come.
ARRIVING = threading.Condition()
#: A response is held.
HOLDING = threading.Semaphore(0)
#: A held response may go on.
RELEASED = threading.Semaphore(0)


def digest(text):
    return hashlib.sha256(text.encode("latin-1")).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    failures = {}
    arrived = b""

    def log_message(self, *arguments):
        pass

    def handle_one_request(self):
        try:
            super().handle_one_request()
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def body(self):
        if "chunked" not in self.headers.get("transfer-encoding", ""):
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        data = b""
        while True:
            size = int(self.rfile.readline(), 16)
            part = self.rfile.read(size)
            data += part
            self.rfile.readline()
            if not size:
                return data
            with ARRIVING:
                Handler.arrived += part
                ARRIVING.notify_all()

    def answer(self, status, value, kind="application/json", **headers):
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        if status != 204:
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
        for name, text in headers.items():
            self.send_header(name.replace("_", "-"), text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def respond(self):
        data = self.body()
        path = self.path.partition("?")[0]
        special = getattr(self, "do" + path.replace("/", "_").replace("-", "_"), None)
        if special is not None:
            special(data)
        elif path.startswith("/v1/"):
            key = self.headers.get("x-api-key")
            told = {"method": self.command, "path": path, "key": key}
            self.answer(200, {"code": 200, "message": "", "data": told}, X_Key_Digest=digest(key or ""))
        elif path.startswith("/2010-04-01/"):
            self.answer(201, {"sid": "SM1", "status": "queued"})
        elif path.startswith("/api/1."):
            self.answer(200, [{"email": "a@b.example", "status": "sent"}])
        elif path == "/wd/session":
            self.answer(200, {"value": {"sessionId": "s1", "capabilities": {"browserName": "chrome"}}})
        elif path.startswith("/wd/session/s1"):
            self.answer(200, {"value": "A title" if path.endswith("/title") else None})
        else:
            self.answer(404, {"code": 404})

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = respond

    def do_echo(self, data):
        self.answer(200, {
            "method": self.command,
            "path": self.path,
            "headers": {name.lower(): text for name, text in self.headers.items()},
            "body": data[:1000].decode("latin-1"),
            "length": len(data),
        })  # fmt: skip

    def do_digests(self, data):
        # What came, told without repeating it, and repeated.
        query = urllib.parse.parse_qs(self.path.partition("?")[2])
        came = {
            "header": self.headers.get("x-api-key", ""),
            "authorization": self.headers.get("authorization", ""),
            "query": query.get("key", [""])[0],
            "body": data.decode("latin-1"),
        }
        digests = {name: digest(text) for name, text in came.items()}
        self.answer(200, {"digests": digests, "echo": came, "encoded": base64.b64encode(data).decode()})

    def do_cookie(self, data):
        self.answer(200, {}, Set_Cookie="kept=1; Path=/")

    def do_redirect(self, data):
        self.answer(302, b"", Location="/echo?redirected")

    def do_gzip(self, data):
        self.answer(200, gzip.compress(b'{"packed": true}'), Content_Encoding="gzip")

    def do_large(self, data):
        self.answer(200, bytes(2_000_000), "application/octet-stream")

    def do_empty(self, data):
        self.answer(204, b"")

    def do_fail_twice(self, data):
        count = Handler.failures[self.client_address[0]] = Handler.failures.get(self.client_address[0], 0) + 1
        self.answer(500 if count % 3 else 200, {"count": count})

    def do_stream(self, data):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number in range(3):
            line = f"line {number}\n".encode()
            self.wfile.write(b"%x\r\n%b\r\n" % (len(line), line))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def do_upload(self, data):
        self.answer(200, data.decode())

    def do_arrived(self, data):
        wanted = int(self.path.partition("length=")[2])
        with ARRIVING:
            there = ARRIVING.wait_for(lambda: len(Handler.arrived) >= wanted, 10)
        self.answer(200, there)

    def do_held(self, data):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"6\r\nfirst\n\r\n")
        self.wfile.flush()
        HOLDING.release()
        RELEASED.acquire(timeout=20)
        self.wfile.write(b"7\r\nsecond\n\r\n0\r\n\r\n")

    def do_holding(self, data):
        self.answer(200, HOLDING.acquire(timeout=20))

    def do_release(self, data):
        RELEASED.release()
        self.answer(200, {})

    def do_around(self, data):
        self.answer(302, b"", Location="/around")

    def do_see_other(self, data):
        self.answer(303, b"", Location="/echo?303")

    def do_temporary(self, data):
        self.answer(307, b"", Location="/echo?307")

    def do_to_metadata(self, data):
        self.answer(302, b"", Location="http://169.254.169.254/latest")

    def do_deflate(self, data):
        self.answer(200, zlib.compress(b'{"packed": true}'), Content_Encoding="deflate")

    def do_unauthorized(self, data):
        if self.headers.get("authorization") == "Basic dTpw":
            return self.answer(200, "welcome")
        self.answer(401, b"", WWW_Authenticate='Basic realm="here"')

    def do_slow(self, data):
        # Answers when the caller has given up and closed, or never.
        self.connection.settimeout(30)
        self.connection.recv(1)
        self.close_connection = True

    def do_jammed(self, data):
        self.answer(200, {"port": JAMMED[0].getsockname()[1]})

    def do_hang_up(self, data):
        # With an RST instead of a FIN, before a byte of the answer.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def do_nonsense(self, data):
        self.wfile.write(b"SSH-2.0-nonsense\r\n")
        self.close_connection = True

    def do_peer(self, data):
        self.answer(200, {"port": self.client_address[1]})

    def do_reset(self, data):
        self.send_response(200)
        self.send_header("Content-Length", "10")
        self.end_headers()
        self.wfile.write(b"12345")
        self.wfile.flush()
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)


def jammed():
    """A port that takes no connection: its queue is full, so that connecting hangs."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    waiting = []
    for _ in range(8):
        one = socket.socket()
        one.setblocking(False)
        one.connect_ex(listener.getsockname())
        waiting.append(one)
    return listener, waiting


JAMMED = jammed()


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass


if __name__ == "__main__":
    server = Server(("127.0.0.1", 0), Handler)
    if len(sys.argv) > 1:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*sys.argv[1:])
        server.socket = context.wrap_socket(server.socket, server_side=True)
    print(server.server_address[1], flush=True)
    server.serve_forever()
