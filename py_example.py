def call_me():
    print("Hello serverless world!")
