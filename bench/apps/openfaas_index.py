"""What a function of OpenFaaS's python3-http template is: a Flask route, served by waitress.

    python openfaas_index.py PORT

The template's handler takes (event, context) and returns status and body. In front of it OpenFaaS
runs its of-watchdog, a proxy, and its gateway, another; both are left out here.
"""

import sys

import hello
from flask import Flask, jsonify, request
from waitress import serve

app = Flask(__name__)


class Event:
    def __init__(self):
        self.body = request.get_data()
        self.headers, self.query = request.headers, request.args
        self.method, self.path = request.method, request.path


def handle(event, context):
    return {"statusCode": 200, "body": hello.handler()}


@app.route("/", defaults={"path": ""}, methods=["GET", "PUT", "POST", "PATCH", "DELETE"])
@app.route("/<path:path>", methods=["GET", "PUT", "POST", "PATCH", "DELETE"])
def call(path):
    answer = handle(Event(), None)
    return jsonify(answer["body"]), answer["statusCode"]


if __name__ == "__main__":
    serve(app, host="127.0.0.1", port=int(sys.argv[1]))
