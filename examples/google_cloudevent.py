# /// script
# dependencies = ["functions-framework"]
# ///
"""Google's functions framework: a CloudEvent in, nothing out."""

import functions_framework


@functions_framework.cloud_event
def receive(cloud_event):
    print(f"{cloud_event['type']} of {cloud_event['source']}: {cloud_event.data}")
