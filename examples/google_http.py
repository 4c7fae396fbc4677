# /// script
# dependencies = ["functions-framework"]
# ///
"""Google's functions framework: Flask's request in, what a Flask view may return out."""

import functions_framework


@functions_framework.http
def hello(request):
    return {"hello": request.args.get("name", "world"), "path": request.path}, 203
