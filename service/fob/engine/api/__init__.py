"""Marathon's REST API over the supervisor: each handler reads the request, calls, and answers.

Everything is served under `/v2` and again under `/service/marathon/v2`, where DC/OS has it, and the
files of tasks under `/agent/<id>/files`, where DC/OS routes to the Mesos agent.
"""
