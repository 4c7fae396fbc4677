"""The function that everybody serves: it returns a small object. fob is sent this very file."""


def handler():
    return {"message": "Hello serverless world!"}
