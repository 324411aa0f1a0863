#!/usr/bin/env python3
"""Makes corpus.json: requests that two parsers could read differently, with what h11 reads.

    pip install h11==0.16.0
    python3 corpus.py > corpus.json

h11 is a parser of its own, written from the RFC. Each case is followed by a second
request, which must never be answered where it is part of the first. `{P}` stands for the
path of an endpoint. `requests` are the requests that h11 reads, with their bodies, before
it ends or refuses.
"""

import json

import h11

BEHIND = b"GET {P}?behind HTTP/1.1\r\nHost: a\r\n\r\n"
cases = {}


def read(data):
    """The requests that h11 reads one after the other, and why it stops."""
    data = data.replace(b"{P}", b"/catch/key")
    requests = []
    while True:
        # Empty lines in front of a request are to be ignored (RFC 9112, 2.2); h11 refuses them.
        while data.startswith(b"\r\n"):
            data = data[2:]
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=64 * 1024)
        connection.receive_data(data)
        connection.receive_data(b"")
        try:
            while True:
                event = connection.next_event()
                if isinstance(event, h11.Request):
                    method, target, body = event.method, event.target, b""
                elif isinstance(event, h11.Data):
                    body += bytes(event.data)
                elif isinstance(event, h11.EndOfMessage):
                    break
                elif isinstance(event, h11.ConnectionClosed):
                    return requests, "end"
                else:
                    return requests, "incomplete"
        except h11.RemoteProtocolError:
            return requests, "refused"
        requests.append([text.decode("latin1") for text in (method, target, body)])
        connection.send(h11.Response(status_code=204, headers=[]))
        connection.send(h11.EndOfMessage())
        if connection.our_state is h11.MUST_CLOSE:
            return requests, "close"
        data = connection.trailing_data[0]


def add(group, data):
    data += BEHIND
    name = f"{group} {sum(1 for case in cases.values() if case['group'] == group) + 1}"
    text = data.decode("latin1")
    if any(case["bytes"] == text for case in cases.values()):
        return
    requests, end = read(data)
    cases[name] = {"name": name, "group": group, "bytes": text, "requests": requests, "end": end}


def post(*headers, body=b"", line=b"POST {P} HTTP/1.1", host=b"Host: a"):
    lines = [line] + ([host] if host is not None else []) + list(headers)
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


CHUNKED = b"5\r\nhello\r\n0\r\n\r\n"
LENGTHS = [
    b"5", b"05", b"+5", b"-5", b"5,5", b"5, 5", b"5, 6", b"5 5", b"5.0", b"0x5", b"5e0", b"", b"5;", b"5 ", b"\t5",
    b" 5", b"5\t", b"5\x0b", b"\x0c5", b"5\x00", b"5h", b"'5'", b'"5"', b"0", b"00", b"-0", b"4", b"6", b"1_0",
    b"18446744073709551616", b"18446744073709551621", b"9" * 40, "５".encode(), b"\xb2", b"five", b"0b101", b"5\r 5",
]
for value in LENGTHS:
    add("content-length", post(b"Content-Length: " + value, body=b"hello"))
    add("content-length with transfer-encoding", post(b"Content-Length: " + value, b"Transfer-Encoding: chunked", body=CHUNKED))
    add("transfer-encoding with content-length", post(b"Transfer-Encoding: chunked", b"Content-Length: " + value, body=CHUNKED))
for one in [b"0", b"5", b"05", b"6", b""]:
    for other in [b"0", b"5", b"6", b"+5"]:
        add("two content-lengths", post(b"Content-Length: " + one, b"content-length: " + other, body=b"hello"))

CODINGS = [
    b"chunked", b"Chunked", b"CHUNKED", b" chunked", b"chunked ", b"\tchunked", b"chunked\t", b"\x0bchunked", b"chunked\x0b",
    b"\x0cchunked", b"chunked\x00", b"\x00chunked", b"xchunked", b"chunkedx", b"chunked, identity", b"identity, chunked",
    b"identity", b"gzip", b"gzip, chunked", b"chunked, gzip", b"chunked, chunked", b"chunked,", b",chunked", b'"chunked"',
    b"chunked;q=1", b"chunked; a=b", b"chun\x00ked", b"chun ked", b"", b"c\xc2\xadhunked", b"chunked\xa0", b"cow", b"chunKed\r\n ,x",
    b"chunked\r\n\tx", "chun\u212Aed".encode(), b"deflate", b"trailers", b"chunked chunked",
]
for value in CODINGS:
    add("transfer-encoding", post(b"Transfer-Encoding: " + value, body=CHUNKED))
    add("transfer-encoding in HTTP/1.0", post(b"Transfer-Encoding: " + value, line=b"POST {P} HTTP/1.0", body=CHUNKED))
    add("two transfer-encodings", post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: " + value, body=CHUNKED))

NAMES = [
    b"Content-Length", b"content-length", b"CONTENT-LENGTH", b"Content_Length", b"Content-Length ", b"Content-Length\t", b" Content-Length",
    b"\tContent-Length", b"Content-Length\x00", b"\x00Content-Length", b"Content Length", b"Content-Length\x0b", b"\xefContent-Length",
    b"Content-Length:", b"(Content-Length", b"Content-Length\r", b"", b"X\x7f", b"Content-Length\xa0", b"X@", b'"Content-Length"',
]
for name in NAMES:
    add("name of content-length", post(name + b": 5", body=b"hello"))
    add("name of transfer-encoding", post(name.replace(b"Content-Length", b"Transfer-Encoding").replace(b"content-length", b"transfer-encoding") + b": chunked", body=CHUNKED))

SIZES = [
    b"5", b"05", b"0005", b"+5", b"-5", b"0x5", b"5 ", b" 5", b"5\t", b"\t5", b"5;", b"5;a", b"5;a=b", b'5;a="b"', b'5;a="b;c"', b"5 ;a", b"5; a",
    b"5;\ta", b"5;a\x00", b"5;\x0b", b"5,5", b"5h", b"g", b"", b"5.0", b"00000000000000005", b"100000005", b"FFFFFFFFFFFFFFFF5", b"ffffffffffffffff",
    b"10000000000000005", b"5;" + b"a" * 500, b"5;" + b"a" * 5000, b"5\r", b"\r5", b"5;\r", b"5;a\rb", "５".encode(), b"5\x00", b"5_0", b"'5'",
]
for size in SIZES:
    add("chunk size", post(b"Transfer-Encoding: chunked", body=size + b"\r\nhello\r\n0\r\n\r\n"))
    add("last chunk size", post(b"Transfer-Encoding: chunked", body=b"5\r\nhello\r\n" + size.replace(b"5", b"0") + b"\r\n\r\n"))
for end in [b"\n", b"\r", b"\r\r\n", b"\n\r", b"", b" \r\n", b"X\r\n", b"\r\n\r\n", b"\x00\r\n"]:
    add("end of a chunk's size", post(b"Transfer-Encoding: chunked", body=b"5" + end + b"hello\r\n0\r\n\r\n"))
    add("end of a chunk", post(b"Transfer-Encoding: chunked", body=b"5\r\nhello" + end + b"0\r\n\r\n"))
    add("end of the last chunk", post(b"Transfer-Encoding: chunked", body=b"5\r\nhello\r\n0" + end + b"\r\n"))
    add("end of the body", post(b"Transfer-Encoding: chunked", body=b"5\r\nhello\r\n0\r\n" + end))
for trailer in [b"A: b", b"A:b", b"A : b", b" A: b", b"A", b"A: b\nC: d", b"A: b\r C", b"Content-Length: 5", b"Transfer-Encoding: x", b"A: \x00", b"A\x00: b", b"A: b\r\n c"]:
    add("trailer", post(b"Transfer-Encoding: chunked", body=b"5\r\nhello\r\n0\r\n" + trailer + b"\r\n\r\n"))

for end in [b"\n", b"\r", b"\r\r\n", b"\n\r\n", b"\r\n ", b"\r\n\t", b"\x0b\r\n", b"\x00\r\n", b"\x85", "\u2028".encode(), b"\r\n\r", b" \r\n", b"\t\r\n"]:
    add("end of the request line", b"POST {P} HTTP/1.1" + end + b"Host: a\r\nContent-Length: 5\r\n\r\nhello")
    add("end of a header", b"POST {P} HTTP/1.1\r\nHost: a" + end + b"Content-Length: 5\r\n\r\nhello")
    add("end of the last header", b"POST {P} HTTP/1.1\r\nHost: a\r\nContent-Length: 5" + end + b"\r\nhello")
    add("end of the head", b"POST {P} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n" + end + b"hello")
for before in [b"\r\n", b"\r\n\r\n", b"\n", b"\r", b" ", b"\x00", b"\t", b"\r\n ", b"x", b"\xef\xbb\xbf"]:
    add("before the request", before + post(b"Content-Length: 5", body=b"hello"))
for line in [
    b"POST {P} HTTP/1.0", b"POST {P} HTTP/1.2", b"POST {P} HTTP/2.0", b"POST {P} HTTP/0.9", b"POST {P} http/1.1", b"POST {P} HTTP/1.1 ", b"POST {P} HTTP/01.1",
    b"POST {P} HTTP/1.10", b"POST {P} HTTP/1,1", b"POST {P} HTTP/1.", b"POST {P} HTTP/11", b"POST {P}", b"POST {P} ", b"POST  {P} HTTP/1.1", b"POST {P}  HTTP/1.1",
    b"POST\t{P} HTTP/1.1", b"POST {P}\tHTTP/1.1", b" POST {P} HTTP/1.1", b"POST", b"POST {P} HTTP/1.1 HTTP/1.1", b"POST {P}\x00 HTTP/1.1", b"POST {P}\xff HTTP/1.1",
    b"POST {P}#a HTTP/1.1", b"POST http://a{P} HTTP/1.1", b"POST http://b{P} HTTP/1.1", b"post {P} HTTP/1.1", b"PO ST {P} HTTP/1.1", b"P\x00ST {P} HTTP/1.1",
    b"P(ST {P} HTTP/1.1", b"GET {P} HTTP/1.1", b"DELETE {P} HTTP/1.1", b"POST {P}\x0bHTTP/1.1", b"POST \\{P} HTTP/1.1", b"POST {P}\x7f HTTP/1.1", b"POST * HTTP/1.1",
]:
    add("request line", post(b"Content-Length: 5", line=line, body=b"hello"))
for value in [b"b\x00", b"b\x01", b"b\x7f", b"b\xff", b"b\x0bContent-Length: 0", b"b\x0cTransfer-Encoding: chunked", b"b\rTransfer-Encoding: chunked", b"b\nTransfer-Encoding: chunked",
              b"b\r\n Transfer-Encoding: chunked", b"b\r\n\tTransfer-Encoding: chunked", b"b\x85Transfer-Encoding: chunked", b"", b" ", "\u010a".encode(), b"a" * 40000]:
    add("value of a header", post(b"X: " + value, b"Content-Length: 5", body=b"hello"))
for hosts in [[], [b"Host: a", b"Host: a"], [b"Host: a", b"Host: b"], [b"Host: "], [b"Host: a, b"], [b"Host: a b"], [b"Host: a\x00"], [b"Host : a"], [b" Host: a"], [b"Host: a@b"], [b"Host: a/b"]]:
    add("host", post(*hosts, b"Content-Length: 5", host=None, body=b"hello"))
for connection in [b"close", b"keep-alive", b"Content-Length", b"Transfer-Encoding", b"upgrade", b"close, Content-Length"]:
    add("connection", post(b"Connection: " + connection, b"Upgrade: h2c", b"Content-Length: 5", body=b"hello"))
for expect in [b"100-continue", b"100-Continue", b"other"]:
    add("expect", post(b"Expect: " + expect, b"Content-Length: 5", body=b"hello"))

print(json.dumps(list(cases.values()), indent=0))
