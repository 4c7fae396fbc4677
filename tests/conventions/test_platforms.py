"""Handlers of other platforms: their arguments, and the responses made of their results."""

import base64
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from talk import GET, Serve

# AWS Lambda

CONTEXT = """
def lambda_handler(event, context):
    return [context.function_name, context.function_version, context.invoked_function_arn,
            context.memory_limit_in_mb, context.aws_request_id, context.log_group_name,
            context.log_stream_name, context.identity.cognito_identity_id, context.client_context,
            context.get_remaining_time_in_millis()]
"""
ECHO = "def lambda_handler(event, context): return event"


def test_the_context_of_aws_describes_function_and_call(serve: Serve) -> None:
    runner = serve(CONTEXT, FOB_TIMEOUT="30", MARATHON_APP_RESOURCE_MEM="128.0")
    first = runner.call("/", {}).result
    assert first[:4] == [
        "lambda_handler",
        "$LATEST",
        "arn:aws:lambda:local:000000000000:function:lambda_handler",
        "128",
    ]
    assert first[5:9] == ["/aws/lambda/lambda_handler", "local", None, None]
    assert 20_000 < first[9] <= 30_000
    assert runner.call("/", {}).result[4] != first[4]
    assert runner.call("/", {}, X_Request_Id="abc").result[4] == "abc"


def test_without_a_time_limit_the_remaining_time_is_long(serve: Serve) -> None:
    assert serve(CONTEXT, FOB_TIMEOUT="0").call("/", {}).result[9] > 10**9


@pytest.mark.parametrize("body", [{"a": 1}, [1, 2], "text", 5, None])
def test_json_sent_to_the_root_is_the_event(serve: Serve, body: Any) -> None:
    runner = serve(ECHO)
    text = json.dumps(body).encode()
    assert runner.call("/", text, Content_Type="application/json").result == body


def test_what_curl_calls_a_form_is_the_event_too(serve: Serve) -> None:
    answer = serve(ECHO).call("/", b'{"a": 1}', Content_Type="application/x-www-form-urlencoded")
    assert answer.result == {"a": 1}


def test_any_other_request_is_an_event_of_an_http_api(serve: Serve) -> None:
    event = (
        serve(ECHO)
        .call(
            "/a%20b?x=1&x=2&y=%C3%A9",
            b"hello",
            "PUT",
            Content_Type="text/plain",
            Cookie="a=1; b=2",
            X_Forwarded_For="10.1.2.3, 10.0.0.1",
        )
        .result
    )
    assert event["version"] == "2.0"
    assert event["rawPath"] == "/a b"
    assert event["rawQueryString"] == "x=1&x=2&y=%C3%A9"
    assert event["queryStringParameters"] == {"x": "1,2", "y": "é"}
    assert event["headers"]["content-type"] == "text/plain"
    assert event["cookies"] == ["a=1", "b=2"]
    assert (event["body"], event["isBase64Encoded"]) == ("hello", False)
    http = event["requestContext"]["http"]
    assert (http["method"], http["path"], http["sourceIp"]) == ("PUT", "/a b", "10.1.2.3")


def test_it_has_the_fields_of_a_rest_api_too(serve: Serve) -> None:
    runner = serve(ECHO)
    event = runner.call("/a%20b/c?x=1&x=2&y=3", b"hello", "PUT", X_A="b").result
    assert (event["httpMethod"], event["path"], event["resource"]) == ("PUT", "/a b/c", "/{proxy+}")
    assert event["pathParameters"] == {"proxy": "a b/c"}
    assert event["multiValueQueryStringParameters"] == {"x": ["1", "2"], "y": ["3"]}
    assert event["multiValueHeaders"]["x-a"] == ["b"]
    assert event["stageVariables"] is None
    context = event["requestContext"]
    assert (context["httpMethod"], context["path"], context["stage"]) == (
        "PUT", "/a b/c", "$default",
    )  # fmt: skip
    assert context["identity"] == {"sourceIp": "127.0.0.1", "userAgent": ""}
    assert context["domainName"] == f"127.0.0.1:{runner.port}"
    assert context["requestTimeEpoch"] == context["timeEpoch"] > 10**12
    assert runner.call("/").result["queryStringParameters"] == {}


def test_its_headers_are_found_in_any_case_and_listed_in_lower_case(serve: Serve) -> None:
    runner = serve(
        "import copy\n"
        "def handler(event, context):\n"
        "    headers = copy.deepcopy(event)['headers']\n"
        "    return [headers['X-Api-Key'], headers.get('x-api-key'), 'X-API-KEY' in headers,\n"
        "            [name for name in headers if name.startswith('x-')]]"
    )
    assert runner.call("/", X_Api_Key="1").result == ["1", "1", True, ["x-api-key"]]


def test_a_body_that_is_not_text_is_passed_as_base64(serve: Serve) -> None:
    event = serve(ECHO).call("/x", b"\xff\0").result
    assert (event["body"], event["isBase64Encoded"]) == (base64.b64encode(b"\xff\0").decode(), True)


@pytest.mark.parametrize("target", ["/", "/?a=1", "/items"])
def test_a_get_is_an_event_of_an_http_api(serve: Serve, target: str) -> None:
    event = serve(ECHO).call(target).result
    assert event["requestContext"]["http"]["method"] == "GET"
    assert "body" not in event


def test_json_to_a_path_is_an_event_with_a_body(serve: Serve) -> None:
    assert serve(ECHO).call("/items", {"a": 1}).result["body"] == '{"a": 1}'


def test_a_body_that_claims_to_be_json_and_is_not_is_400(serve: Serve) -> None:
    answer = serve(ECHO).call("/", b"{", Content_Type="application/json")
    assert (answer.status, answer.error["code"]) == (400, "bad_body")


def proxy(answer: str) -> str:
    return f"def lambda_handler(event, context):\n    return {answer}"


def test_a_proxy_response_is_sent(serve: Serve) -> None:
    runner = serve(
        proxy(
            "{'statusCode': '201', 'headers': {'Content-Type': 'text/css', 'X-A': 1},"
            " 'multiValueHeaders': {'X-B': ['1', '2']}, 'cookies': ['a=1', 'b=2'], 'body': 'é'}"
        )
    )
    got = runner.raw(GET).decode()
    assert got.startswith("HTTP/1.1 201 Created\r\n")
    for line in ("Content-Type: text/css", "X-A: 1", "X-B: 1", "X-B: 2", "Set-Cookie: b=2"):
        assert f"\r\n{line}\r\n" in got
    assert got.endswith("\r\n\r\né")


def test_a_proxy_response_may_be_binary(serve: Serve) -> None:
    body = base64.b64encode(b"\x89PNG\0").decode()
    answer = serve(
        proxy(f"{{'statusCode': 200, 'isBase64Encoded': True, 'body': '{body}'}}")
    ).call()
    assert answer.body == b"\x89PNG\0"


def test_a_dict_without_a_status_is_a_value(serve: Serve) -> None:
    assert serve(proxy("{'body': 'x', 'headers': {}}")).call().result == {
        "body": "x",
        "headers": {},
    }


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ("{'statusCode': 'OK'}", "statusCode 'OK' is not a number"),
        ("{'statusCode': None}", "statusCode None is not a number"),
        ("{'statusCode': 20}", "20 is not the status"),
        ("{'statusCode': 200, 'body': {}}", "the body of an AWS proxy response is a dict"),
        ("{'statusCode': 200, 'headers': []}", None),
        ("{'statusCode': 200, 'headers': ['a']}", "headers is a list"),
        ("{'statusCode': 200, 'body': 'a', 'isBase64Encoded': True}", "not base64"),
    ],
)
def test_an_invalid_proxy_response_is_500(serve: Serve, answer: str, told: str | None) -> None:
    got = serve(proxy(answer)).call()
    if told is None:
        assert got.status == 200
    else:
        assert (got.status, got.error["code"]) == (500, "invalid_result")
        assert told in got.error["message"]


def test_a_handler_may_be_a_coroutine_and_raise(serve: Serve) -> None:
    runner = serve("async def handler(event, _): return {'n': 1 / event['n']}")
    assert runner.call("/", {"n": 2}).result == {"n": 0.5}
    assert runner.call("/", {"n": 0}).error["details"]["type"] == "ZeroDivisionError"


def test_a_handler_may_run_the_event_loop_of_its_thread_as_in_the_main_thread(serve: Serve) -> None:
    runner = serve(
        "import asyncio\n"
        "async def _double(n):\n"
        "    await asyncio.sleep(0.05)\n"
        "    return 2 * n\n"
        "def handler(event, context):\n"
        "    return asyncio.get_event_loop().run_until_complete(_double(event['n']))"
    )
    with ThreadPoolExecutor(8) as pool:
        results = pool.map(lambda n: runner.call("/", {"n": n}).result, range(16))
    assert list(results) == [2 * n for n in range(16)]


# one event


def test_the_event_is_all_fields(serve: Serve) -> None:
    runner = serve("def handler(event): return event")
    assert runner.call("/?a=1", {"b": 2}).result == {"a": "1", "b": 2}
    form = runner.call("/?a=1", b"b=2", Content_Type="application/x-www-form-urlencoded")
    assert form.result == {"a": "1", "b": "2"}
    assert runner.call("/", [1]).result == [1]
    assert runner.call("/").result == {}
    assert runner.call("/", b"\xff").error["code"] == "bad_body"


# OpenWhisk

WHISK = "def main(args): return {'got': args}"


def test_the_parameters_of_openwhisk_describe_the_request(serve: Serve) -> None:
    got = serve(WHISK).call("/a/b?x=1", {"y": 2}, "PUT", X_A="b").result["got"]
    assert (got["x"], got["y"]) == ("1", 2)
    assert (got["__ow_method"], got["__ow_path"], got["__ow_query"]) == ("put", "/a/b", "x=1")
    assert got["__ow_headers"]["x-a"] == "b"
    assert "__ow_body" not in got


@pytest.mark.parametrize(
    ("body", "as_text"), [(b"plain", "plain"), (b"\xff", "/w=="), (b"[1]", "[1]")]
)
def test_another_body_is_ow_body(serve: Serve, body: bytes, as_text: str) -> None:
    got = serve(WHISK).call("/", body, Content_Type="text/plain").result["got"]
    assert got["__ow_body"] == as_text


@pytest.mark.parametrize(
    ("result", "status", "kind", "body"),
    [
        ("{'body': '<b>'}", 200, "text/html; charset=utf-8", b"<b>"),
        ("{'body': {'a': 1}, 'statusCode': 202}", 202, "application/json", b'{"a": 1}'),
        ("{'headers': {'location': '/'}, 'statusCode': 302}", 302, None, b""),
        ("{'statusCode': 204}", 204, None, b""),
        ("{'body': '/w==', 'headers': {'Content-Type': 'image/png'}}", 200, "image/png", b"\xff"),
        ("{'error': {'statusCode': 404, 'body': 'no'}}", 404, "text/html; charset=utf-8", b"no"),
    ],
)
def test_a_response_of_a_web_action_is_sent(
    serve: Serve, result: str, status: int, kind: str | None, body: bytes
) -> None:
    answer = serve(f"def main(params): return {result}").call()
    found = (answer.status, answer.headers.get("Content-Type"), answer.body)
    assert found == (status, kind, body)


# OpenFaaS


def test_the_event_of_openfaas_is_the_request(serve: Serve) -> None:
    runner = serve(
        "def handle(event, context):\n"
        "    return {'body': [event.body.hex(), event.method, event.path, event.query,"
        " event.headers['CONTENT-type'], event.headers.get('x-none'), 'X-A' in event.headers]}"
    )
    answer = runner.call("/p?q=1", b"\xff", "PATCH", Content_Type="text/x", X_A="1")
    assert answer.json == ["ff", "PATCH", "/p", {"q": "1"}, "text/x", None, True]


@pytest.mark.parametrize(
    ("result", "status", "kind", "body"),
    [
        ("'text'", 200, "text/plain; charset=utf-8", b"text"),
        ("None", 200, None, b""),
        ("{'a': 1}", 200, "application/json", b'{"a": 1}'),
        ("{'statusCode': 404}", 404, None, b""),
        ("{'body': b'x', 'headers': {'Content-Type': 'a/b'}}", 200, "a/b", b"x"),
        ("('a', 203, {})", 203, "text/plain; charset=utf-8", b"a"),
    ],
)
def test_a_response_of_openfaas_is_sent(
    serve: Serve, result: str, status: int, kind: str | None, body: bytes
) -> None:
    answer = serve(f"def handle(event, context): return {result}").call()
    found = (answer.status, answer.headers.get("Content-Type"), answer.body)
    assert found == (status, kind, body)


def test_the_classic_template_responds_with_what_it_prints_and_returns(serve: Serve) -> None:
    runner = serve("def handle(req):\n    print('got', req)\n    return req[::-1] or None")
    assert runner.call("/", b"abc").body == b"got abc\ncba"
    assert runner.call("/").body == b"got \n"
    assert runner.call("/", b"\xff").error["code"] == "bad_body"


def test_the_classic_template_may_return_an_object(serve: Serve) -> None:
    answer = serve("import json\ndef handle(req): return json.loads(req)").call("/", {"a": [1]})
    assert (answer.headers["Content-Type"], answer.json) == ("application/json", {"a": [1]})


# Nuclio


@pytest.mark.parametrize(
    ("result", "status", "kind", "body"),
    [
        ("'text'", 200, "text/plain; charset=utf-8", b"text"),
        ("{'a': 1}", 200, "application/json", b'{"a": 1}'),
        ("(201, 'made')", 201, "text/plain; charset=utf-8", b"made"),
        ("b'x'", 200, "application/octet-stream", b"x"),
        ("context.Response('x', {'X-A': 1}, 'a/b', 418)", 418, "a/b", b"x"),
        (
            "context.Response({'a': 1}, content_type='text/plain')",
            200,
            "application/json",
            b'{"a": 1}',
        ),
        ("None", 200, None, b""),
    ],
)
def test_a_response_of_nuclio_is_sent(
    serve: Serve, result: str, status: int, kind: str | None, body: bytes
) -> None:
    answer = serve(f"def handler(context, event): return {result}").call()
    found = (answer.status, answer.headers.get("Content-Type"), answer.body)
    assert found == (status, kind, body)


def test_the_event_of_nuclio_is_the_request(serve: Serve) -> None:
    runner = serve(
        "def handler(context, event):\n"
        "    body = event.body.hex() if isinstance(event.body, bytes) else event.body\n"
        "    return [body, event.method, event.path, event.fields, event.content_type,\n"
        "            event.trigger.kind, event.get_header('x-a'), event.size]"
    )
    answer = runner.call("/p?q=1", {"a": 1}, "PUT", X_A="1")
    assert answer.json == [
        {"a": 1}, "PUT", "/p", {"q": "1"}, "application/json", "http", "1", 8,
    ]  # fmt: skip
    assert runner.call("/", b"\xff", Content_Type="a/b").json[0] == "ff"


def test_every_level_of_the_logger_goes_to_the_log(serve: Serve) -> None:
    runner = serve(
        "def handler(context, event):\n"
        "    for level in ('debug', 'info', 'warn', 'error'):\n"
        "        getattr(context.logger, level)('plain %s', level)\n"
        "        getattr(context.logger, level + '_with')('more', n=1)\n"
    )
    runner.call()
    for level in ("DEBUG", "INFO", "WARN", "ERROR"):
        assert f"{level} plain {level.lower()}\n{level} more n=1\n" in runner.stderr


def test_a_failing_init_context_is_exit_3(launch: Serve) -> None:
    runner = launch("def init_context(context): 1 / 0\ndef handler(context, event): pass")
    assert runner.exit_code() == 3
    assert "line 1, in init_context" in runner.stderr


# Google

FRAMEWORK = '# /// script\n# dependencies = ["functions-framework"]\n# ///\n'
FLASK = '# /// script\n# dependencies = ["flask"]\n# ///\n'


def test_without_flask_the_error_names_the_lines_to_add(launch: Serve) -> None:
    runner = launch("try:\n    import flask\nexcept ImportError: pass\ndef hello(request): pass")
    assert runner.exit_code() == 3
    assert "hello takes an object of flask" in runner.stderr
    assert '# /// script\n# dependencies = ["flask"]\n# ///\n' in runner.stderr


def test_a_package_that_is_missing_is_named_with_the_lines_to_add(launch: Serve) -> None:
    runner = launch("import nowhere_to_be_found.sub\ndef go(): pass")
    assert runner.exit_code() == 3
    assert '# dependencies = ["nowhere_to_be_found"]' in runner.stderr


def test_a_view_that_raises_is_a_500_with_the_snippets_lines(serve: Serve) -> None:
    answer = serve(FLASK + "from flask import abort\ndef hello(request):\n    return 1 / 0").call()
    assert answer.error["details"]["traceback"] == ["line 6, in hello: return 1 / 0"]


def test_the_decorated_function_is_called(serve: Serve) -> None:
    runner = serve(
        FRAMEWORK + "import functions_framework\n"
        "def first(): pass\ndef second(): pass\n"
        "@functions_framework.http\ndef third(request): return request.method"
    )
    assert runner.call("/", method="DELETE").body == b"DELETE"


def test_a_structured_cloudevent_is_understood(serve: Serve) -> None:
    runner = serve(
        FRAMEWORK + "import functions_framework\n"
        "@functions_framework.cloud_event\ndef go(event): print(event['id'], event.data)"
    )
    event = {"specversion": "1.0", "id": "7", "source": "s", "type": "t", "data": {"a": 1}}
    kind = "application/cloudevents+json"
    assert runner.call("/", json.dumps(event).encode(), Content_Type=kind).body == b"OK"
    assert runner.stdout == "7 {'a': 1}\n"
