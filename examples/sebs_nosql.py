"""SeBS: items are in tables of the module `nosql`."""

from . import nosql

client = nosql.nosql.get_instance()


def handler(event):
    cart = ("cart", event["cart"])
    for name, price in event["add"].items():
        client.insert("carts", cart, ("product", name), {"price": price})
    items = client.query("carts", cart, "product")
    return {"result": [item["product"] for item in items], "total": sum(i["price"] for i in items)}
