"""AWS Lambda behind API Gateway: an event of an HTTP API, and a proxy response."""

import json


def lambda_handler(event, context):
    http = event["requestContext"]["http"]
    name = event.get("queryStringParameters", {}).get("name", "nobody")
    return {
        "statusCode": 200,
        "headers": {"Content-Type": "application/json", "X-Method": http["method"]},
        "cookies": ["seen=1", "path=" + event["rawPath"]],
        "body": json.dumps({"hello": name}),
    }
