"""`_request`, rule by rule."""

import base64
import copy
import hashlib
import hmac
import json
import pickle
import unittest

from tidegate_runtime import jsontext
from tidegate_runtime.body import BodyError
from tidegate_runtime.request import Request

JSON = ("content-type", "application/json")


def request(raw=b"", headers=(JSON,), method="POST", target="/catch/k"):
    if not isinstance(raw, bytes):
        raw = raw.encode()
    return Request(method, target, list(headers), raw)


class Merging(unittest.TestCase):
    """One flat dict: the parsed body merged with the headers."""

    def test_holds_body_and_headers(self):
        got = request('{"profile": {"key": "p"}}', [JSON, ("x-api-key", "k")])
        self.assertEqual(got["profile"]["key"], "p")
        self.assertEqual(got["Content-Type"], "application/json")
        self.assertEqual(got["X-Api-Key"], "k")

    def test_is_a_dict(self):
        got = request('{"a": 1}')
        self.assertIsInstance(got, dict)
        self.assertEqual({**got}, {"a": 1, "Content-Type": "application/json"})
        self.assertEqual(json.loads(json.dumps(got)), dict(got))

    def test_finds_headers_whatever_their_case(self):
        got = request("{}", [JSON, ("http-hrflow-signature", "s")])
        for name in ("HTTP-HRFLOW-SIGNATURE", "http-hrflow-signature", "Http-Hrflow-Signature"):
            self.assertEqual(got[name], "s")
            self.assertEqual(got.get(name), "s")
            self.assertIn(name, got)
        self.assertEqual(list(got), ["Content-Type", "Http-Hrflow-Signature"])

    def test_body_wins_over_header(self):
        got = request(
            "From=%2B33&Body=hi",
            [("content-type", "application/x-www-form-urlencoded"), ("from", "a@b")],
        )
        self.assertEqual(got["From"], "+33")
        self.assertEqual(got["FROM"], "+33")
        self.assertEqual(got.headers["from"], "a@b")

    def test_body_key_in_other_case_stands_beside_header(self):
        got = request('{"from": "body"}', [JSON, ("from", "header")])
        self.assertEqual(got["from"], "body")
        self.assertEqual(got["From"], "header")

    def test_body_keys_keep_their_case(self):
        got = request('{"Name": 1}')
        with self.assertRaises(KeyError) as caught:
            got["name"]
        self.assertEqual(caught.exception.args, ("name",))
        self.assertIsNone(got.get("NAME"))
        self.assertNotIn("name", got)

    def test_body_comes_first_and_in_order(self):
        got = request('{"z": 1, "a": 2, "m": 3}', [("accept", "*/*"), JSON])
        self.assertEqual(list(got), ["z", "a", "m", "Accept", "Content-Type"])

    def test_repeated_headers_are_joined(self):
        got = request("{}", [JSON, ("x-a", "1"), ("x-a", "2"), ("cookie", "a=1"), ("cookie", "b=2")])
        self.assertEqual(got["X-A"], "1, 2")
        self.assertEqual(got["Cookie"], "a=1; b=2")
        self.assertEqual(got.headers.getlist("x-a"), ["1", "2"])

    def test_removing_finds_headers_too(self):
        got = request('{"a": 1}', [JSON, ("x-a", "1"), ("x-b", "2")])
        self.assertEqual(got.pop("x-a"), "1")
        del got["X-B"]
        self.assertEqual(got.pop("x-b", None), None)
        self.assertEqual(got.setdefault("content-type", "none"), "application/json")
        self.assertEqual(got.setdefault("new", 5), 5)
        self.assertEqual(got["new"], 5)

    def test_copies(self):
        got = request('{"a": [1]}', [JSON, ("x-a", "1")], target="/k?q=1")
        for made in (copy.copy(got), copy.deepcopy(got), pickle.loads(pickle.dumps(got))):
            self.assertEqual(made, got)
            self.assertEqual(made["x-A"], "1")
            self.assertEqual((made.raw, made.query), (got.raw, got.query))
        self.assertIs(type(got.copy()), dict)


class Attributes(unittest.TestCase):
    """What a body key could collide with is an attribute."""

    def test_untouched_body_query_and_method(self):
        got = request(' {"raw": 1, "method": 2}', method="PUT", target="/catch/k/a?b=1&b=2&c=&d=%C3%A9")
        self.assertEqual(got.raw, b' {"raw": 1, "method": 2}')
        self.assertEqual(got.method, "PUT")
        self.assertEqual(got.path, "/catch/k/a")
        self.assertEqual(got.query, {"b": ["1", "2"], "c": "", "d": "é"})
        self.assertEqual(got.query_string, "b=1&b=2&c=&d=%C3%A9")
        self.assertEqual((got["raw"], got["method"]), (1, 2))

    def test_headers_are_those_of_the_caller(self):
        got = request('{"Content-Type": "mine"}')
        self.assertEqual(got["Content-Type"], "mine")
        self.assertEqual(got.headers["CONTENT-TYPE"], "application/json")
        self.assertIn("content-type", got.headers)
        self.assertIsNone(got.headers.get("x-none"))


class Json(unittest.TestCase):
    """Native types at top level; key order and number text are kept."""

    def setUp(self):
        self.addCleanup(jsontext.restore)

    def test_signature_over_a_serialised_body_agrees(self):
        text = '{"b": 1.10, "a": [1e5, -0, 0.1000000000000000055, 1E-7], "z": {"y": 1e999}, "n": 12345678901234567890}'
        got = request(text)
        again = json.dumps({key: got[key] for key in ("b", "a", "z", "n")})
        self.assertEqual(again, text)
        key = b"secret"
        sent = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
        self.assertEqual(hmac.new(key, again.encode(), hashlib.sha256).hexdigest(), sent)

    def test_numbers_are_native(self):
        got = request('{"a": 1.10, "b": 2, "c": -0, "d": true, "e": null}')
        self.assertIsInstance(got["a"], float)
        self.assertEqual(got["a"] + 1, 2.1)
        self.assertEqual(f"{got['a']}", "1.1")
        self.assertIs(type(got["b"]), int)
        self.assertEqual(got["c"], 0)
        self.assertIs(got["d"], True)
        self.assertIsNone(got["e"])
        self.assertIs(type(copy.deepcopy(got)["a"]), type(got["a"]))

    def test_number_text_survives_every_way_to_dump(self):
        got = request('{"a": [1.10]}')["a"]
        self.assertEqual(json.dumps(got), "[1.10]")
        self.assertEqual(json.dumps(got, indent=1), "[\n 1.10\n]")
        self.assertEqual(json.dumps(got, separators=(",", ":")), "[1.10]")
        self.assertEqual(json.dumps({"x": got[0], "y": 2.5, "z": float("inf")}), '{"x": 1.10, "y": 2.5, "z": Infinity}')
        self.assertEqual("".join(json.JSONEncoder().iterencode(got)), "[1.10]")

    def test_plain_numbers_leave_the_encoder_alone(self):
        before = json.encoder.c_make_encoder
        request('{"a": 1.5, "b": 10, "c": 1e+16, "d": 0.0001}')
        self.assertIs(json.encoder.c_make_encoder, before)

    def test_byte_order_mark_and_parameters(self):
        self.assertEqual(request(b'\xef\xbb\xbf{"a": "\xc3\xa9"}')["a"], "é")
        got = request('{"a": 1}', [("content-type", "Application/JSON; charset=utf-8")])
        self.assertEqual(got["a"], 1)
        self.assertEqual(request('{"a": 1}', [("content-type", "application/vnd.x+json")])["a"], 1)

    def test_space_around_it_is_json_too(self):
        for body in (b'{"a": 1}\r\n', b' \t{"a": 1}', b'\n{"a": 1} \n'):
            self.assertEqual(request(body)["a"], 1)
        for body in (b'{"a": 1} x', b'{"a": 1}\x0b', b'{"a": 1}{}', '{"a": 1}\u2003'.encode()):
            with self.assertRaisesRegex(BodyError, "not valid JSON"):
                request(body)

    def test_refuses_what_is_not_an_object(self):
        for text, name in (("[1]", "an array"), ('"a"', "a string"), ("1", "a number"), ("1.10", "a number"), ("null", "null"), ("true", "a boolean")):
            with self.assertRaisesRegex(BodyError, f"must be a JSON object, not {name}"):
                request(text)

    def test_refuses_what_is_not_json(self):
        for raw in (b"{", b"{'a': 1}", b'{"a": NaN}', b'{"a": Infinity}', b"\xff{}", b"[" * 100_000):
            with self.assertRaisesRegex(BodyError, "not valid JSON"):
                request(raw)

    def test_says_when_a_form_came_under_a_json_type(self):
        with self.assertRaisesRegex(BodyError, "looks like a form"):
            request("text=hello&a=1")

    def test_empty_body_is_an_empty_dict(self):
        self.assertEqual(dict(request(b"", [])), {})


class Forms(unittest.TestCase):
    """Each field a plain str; a repeated field becomes a list."""

    TYPE = ("content-type", "application/x-www-form-urlencoded")

    def test_fields(self):
        got = request("a=1&b=x+y&c=%C3%A9&d=&a=2&a=3", [self.TYPE])
        self.assertEqual(got["a"], ["1", "2", "3"])
        self.assertEqual(got["b"], "x y")
        self.assertEqual(got["c"], "é")
        self.assertEqual(got["d"], "")

    def test_too_many_fields(self):
        with self.assertRaisesRegex(BodyError, "more than 10000 fields"):
            request("a=1&" * 10_001 + "a=1", [self.TYPE])

    def test_other_types_have_the_raw_body_only(self):
        got = request(b"<a/>", [("content-type", "text/xml")])
        self.assertEqual(dict(got), {"Content-Type": "text/xml"})
        self.assertEqual(got.raw, b"<a/>")


def multipart(*parts, end=b"--x--\r\n"):
    body = b""
    for head, data in parts:
        body += b"--x\r\n" + head.encode() + b"\r\n\r\n" + data + b"\r\n"
    return request(body + end, [("content-type", 'multipart/form-data; boundary="x"')])


class Multipart(unittest.TestCase):
    """A file part becomes filename, content type and base64 data."""

    def test_fields_and_files(self):
        data = bytes(range(256)) + b"\r\n--y\r\n"
        got = multipart(
            ('Content-Disposition: form-data; name="note"', "é".encode()),
            ('Content-Disposition: form-data; name="cv"; filename="a b.pdf"\r\nContent-Type: application/pdf', data),
            ('content-disposition: form-data; name="tag"', b"1"),
            ('content-disposition: form-data; name="tag"', b"2"),
        )
        self.assertEqual(got["note"], "é")
        self.assertEqual(got["tag"], ["1", "2"])
        self.assertEqual(got["cv"]["filename"], "a b.pdf")
        self.assertEqual(got["cv"]["content_type"], "application/pdf")
        self.assertEqual(base64.b64decode(got["cv"]["data"]), data)

    def test_repeated_files_are_a_list(self):
        head = 'Content-Disposition: form-data; name="f"; filename="n"'
        got = multipart((head, b"1"), (head, b"2"))
        self.assertEqual([base64.b64decode(file["data"]) for file in got["f"]], [b"1", b"2"])
        self.assertEqual(got["f"][0]["content_type"], "application/octet-stream")

    def test_names_with_quotes_and_other_letters(self):
        got = multipart(
            ('Content-Disposition: form-data; name="a%22b"; filename="x\\"y; z.txt"', b""),
            ("Content-Disposition: form-data; name=plain; filename*=UTF-8''na%C3%AFve.txt", b""),
        )
        self.assertEqual(got['a"b']["filename"], 'x"y; z.txt')
        self.assertEqual(got["plain"]["filename"], "naïve.txt")

    def test_empty(self):
        self.assertEqual(dict(multipart()), {"Content-Type": 'multipart/form-data; boundary="x"'})

    def test_broken(self):
        head = 'Content-Disposition: form-data; name="a"'
        with self.assertRaisesRegex(BodyError, "ends before its closing boundary"):
            multipart((head, b"1"), end=b"")
        with self.assertRaisesRegex(BodyError, "names no field"):
            multipart(("Content-Type: text/plain", b"1"))
        with self.assertRaisesRegex(BodyError, "head is longer"):
            multipart((head + "\r\nX-A: " + "y" * 20_000, b"1"))
        with self.assertRaisesRegex(BodyError, "names no boundary"):
            request(b"--x--", [("content-type", "multipart/form-data")])
        with self.assertRaisesRegex(BodyError, "boundary never occurs"):
            request(b"hello", [("content-type", "multipart/form-data; boundary=x")])
        with self.assertRaisesRegex(BodyError, "more than 10000 fields"):
            multipart(*[(head, b"1")] * 10_001)


if __name__ == "__main__":
    unittest.main()
