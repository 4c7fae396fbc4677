# /// script
# dependencies = ["chameleon"]
# ///
"""In the way of FunctionBench: render a large table with Chameleon."""

from time import time

from chameleon import PageTemplate

TABLE = """\
<table xmlns="http://www.w3.org/1999/xhtml" xmlns:tal="http://xml.zope.org/namespaces/tal">
<tr tal:repeat="row python: options['rows']"><td tal:repeat="cell row" tal:content="cell"/></tr>
</table>"""


def lambda_handler(event, context):
    rows, columns = event["rows"], event["columns"]
    start = time()
    data = PageTemplate(TABLE).render(options={"rows": [range(columns)] * rows})
    return {"latency": time() - start, "data": data}
