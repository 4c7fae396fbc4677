# /// script
# dependencies = ["flask"]
# ///
"""Google's functions without the framework: a file that imports flask, and a `request`."""

from flask import abort


def hello(request):
    if request.method != "POST":
        abort(405)
    return f"Hello {request.get_json()['name']}"
