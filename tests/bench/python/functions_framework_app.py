"""The hello in functions-framework: workers that stay."""

import flask
import hello as function


def hello(request):
    reply = function.workflow(request.get_json(), {})
    return flask.Response(reply["body"], reply["status_code"], reply["headers"])
