# /// script
# dependencies = ["flask"]
# ///
"""A Flask application."""

from flask import Flask, request

app = Flask(__name__)


@app.get("/hello/<name>")
def hello(name):
    return {"hello": name, "loud": "loud" in request.args}


@app.post("/upper")
def main():
    return request.get_data().upper(), 201
