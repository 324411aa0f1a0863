"""A function in Flask: workers that stay, and share their memory from call to call."""

import importlib
import json
import os

import flask

function = importlib.import_module(os.environ["BENCH_FUNCTION"]).workflow
settings = json.loads(os.environ["BENCH_SETTINGS"])
app = flask.Flask(__name__)


@app.post("/")
def call():
    reply = function(flask.request.get_json(), settings)
    return flask.Response(reply["body"], reply["status_code"], reply["headers"])
