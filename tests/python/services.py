"""Stand-ins for the services of the examples: an HR API, an SMS service, an ATS, a feed.

They keep what they receive and fail on demand. Listens on a free port of 127.0.0.1 and
prints the port.

GET  /state    everything that was received, and the profiles with their tags
POST /faults   a list of faults for each service, one for each of its next requests:
               a status as text, "reset", "nonsense" (an answer that is not JSON),
               "slow" (no answer), "lost" (the request is carried out, and its answer
               never arrives), or "held" (the same, and the connection stays open)
"""

import http.server
import json
import socket
import threading
import urllib.parse

KEYS = {"hr": "hr-key", "sms": "sms-key", "ats": "ats-key"}
FAULTS = {"hr": [], "sms": [], "ats": [], "feed": []}
FEED = [{"id": f"i-{number}", "title": f"Item {number}"} for number in range(1, 6)]
LOCK = threading.Lock()


def profile(number):
    return {
        "key": f"p-{number}",
        "source": {"key": "s-1"},
        "info": {
            "first_name": f"First{number}",
            "last_name": f"Last{number}",
            "email": f"p{number}@example.com",
            "phone": f"+3300000{number:04}",
            "date_birth": "1990-01-01",
            "gender": "female",
            "summary": "…",
        },
        "tags": [{"name": "seen", "value": "yes"}] if number % 2 else [],
    }


STATE = {
    "profiles": {f"p-{number}": profile(number) for number in range(1, 36)},
    "messages": [],
    "people": [],
    "batches": [],
    "edits": [],
}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def answer(self, status, value):
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def hang_up(self):
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def wait_for_the_caller(self):
        """Returns when the caller has given up, or is no more."""
        self.connection.settimeout(60)
        self.connection.recv(1)
        self.close_connection = True

    def respond(self):
        if self.answer_or_fault() in ("slow", "held"):
            self.wait_for_the_caller()

    def answer_or_fault(self):
        data = self.rfile.read(int(self.headers.get("content-length") or 0))
        url = urllib.parse.urlsplit(self.path)
        with LOCK:
            if url.path == "/state":
                return self.answer(200, STATE)
            if url.path == "/faults":
                for service, faults in json.loads(data).items():
                    FAULTS[service].extend(faults)
                return self.answer(200, {})
            service = {"/sms": "sms", "/profiles": "ats", "/feed": "feed"}.get(url.path, "hr")
            fault = FAULTS[service].pop(0) if FAULTS[service] else None
            if fault == "reset":
                return self.hang_up()
            if fault == "slow":
                return fault
            if fault == "nonsense":
                return self.answer(200, b"<html>down for maintenance</html>")
            if fault and fault.isdigit():
                return self.answer(int(fault), {"code": int(fault), "message": "on demand"})
            if self.headers.get("x-api-key") != KEYS.get(service):
                return self.answer(401, {"code": 401, "message": "Unauthorized"})
            query = dict(urllib.parse.parse_qsl(url.query))
            handle = getattr(self, f"{service}_{self.command.lower()}")
            status, value = handle(url.path, query, data)
            if fault == "lost":
                return self.hang_up()
            if fault != "held":
                self.answer(status, value)
            return fault

    do_GET = do_POST = do_PUT = respond

    def hr_get(self, path, query, data):
        if path == "/v1/profile/indexing":
            found = STATE["profiles"].get(query.get("key"))
            if found is None or query.get("source_key") != "s-1":
                return 404, {"code": 404, "message": "Profile not found"}
            return 200, {"code": 200, "message": "", "data": found}
        if path == "/v1/profiles/searching":
            excluded = json.loads(query["tags_excluded"])
            found = [
                one
                for one in STATE["profiles"].values()
                if not any(all(tag in one["tags"] for tag in group) for group in excluded)
            ]
            return 200, {"code": 200, "message": "", "data": {"profiles": found[: int(query["limit"])]}}
        return 404, {"code": 404, "message": "Not found"}

    def hr_put(self, path, query, data):
        edited = json.loads(data)
        STATE["profiles"][edited["key"]]["tags"] = edited["tags"]
        STATE["edits"].append(edited["key"])
        return 200, {"code": 200, "message": "", "data": {}}

    def feed_get(self, path, query, data):
        seen = [item["id"] for item in FEED].index(query["after"]) + 1 if "after" in query else 0
        return 200, {"items": FEED[seen : seen + 2], "more": seen + 2 < len(FEED)}

    def sms_post(self, path, query, data):
        STATE["messages"].append(json.loads(data)["text"])
        return 200, {}

    def ats_post(self, path, query, data):
        batch = self.headers["idempotency-key"]
        if batch not in STATE["batches"]:
            STATE["batches"].append(batch)
            STATE["people"].extend(json.loads(data)["profiles"])
        return 200, {}


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass


if __name__ == "__main__":
    server = Server(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()
