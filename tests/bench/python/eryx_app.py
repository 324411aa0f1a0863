"""The hello in pyeryx: a sandbox for each call, made afresh and thrown away."""

import pathlib

import eryx

SOURCE = (pathlib.Path(__file__).parent / "hello.py").read_text()


def app(environ, start_response):
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)).decode()
    sandbox = eryx.Sandbox()
    program = f"{SOURCE}\n\nresult = workflow(json.loads({body!r}), {{}})\n"
    reply = sandbox.execute(program).result
    data = reply["body"].encode()
    start_response(f"{reply['status_code']} OK", [*reply["headers"].items(), ("Content-Length", str(len(data)))])
    return [data]
