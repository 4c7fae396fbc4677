"""OpenWhisk: a dict of parameters in, a dict out; with statusCode, headers or body it is HTTP."""


def main(args):
    name = args.get("name", "stranger")
    if args["__ow_method"] == "get":
        return {"headers": {"Content-Type": "text/html"}, "body": f"<p>Hello {name}</p>"}
    return {"greeting": f"Hello {name}"}
