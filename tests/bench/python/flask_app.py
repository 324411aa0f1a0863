"""The hello in Flask: workers that stay, and share their memory from call to call."""

import flask
from hello import workflow

app = flask.Flask(__name__)


@app.post("/")
def hello():
    reply = workflow(flask.request.get_json(), {})
    return flask.Response(reply["body"], reply["status_code"], reply["headers"])
