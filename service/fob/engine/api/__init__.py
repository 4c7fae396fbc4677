"""Marathon's REST API: each handler parses the request, calls the engine, and responds.

Everything is served under `/v2` and, as on DC/OS, under `/service/marathon/v2`. Files of tasks are
under `/agent/<id>/files`, the path at which DC/OS proxies to a Mesos agent.
"""
