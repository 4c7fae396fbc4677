"""AWS Lambda behind API Gateway's REST API: an event of version 1.0, and an answer in base64."""

import base64


def lambda_handler(event, context):
    names = event["multiValueQueryStringParameters"]["name"]
    image = "".join(f"{event['httpMethod']} {event['path']} {name}\n" for name in names)
    return {
        "statusCode": 200,
        "headers": {"Content-Type": "image/x-text"},
        "multiValueHeaders": {"X-Host": [event["headers"]["Host"], context.function_name]},
        "body": base64.b64encode(image.encode()).decode(),
        "isBase64Encoded": True,
    }
