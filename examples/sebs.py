"""SeBS: one event; objects are in buckets of the module `storage`."""

import io

from . import storage

client = storage.storage.get_instance()


def handler(event):
    bucket, text = event["bucket"], event["text"]
    key = client.upload_stream(bucket, "words.txt", io.BytesIO(text.encode()))
    words = client.download_stream(bucket, key).decode().split()
    return {"result": {"words": len(words)}, "measurement": {"size": len(text)}}
