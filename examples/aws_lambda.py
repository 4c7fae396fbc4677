"""AWS Lambda: an event and a context."""


def lambda_handler(event, context):
    print(f"{context.function_name} has {context.get_remaining_time_in_millis()} ms")
    return {"sum": sum(event["numbers"])}
