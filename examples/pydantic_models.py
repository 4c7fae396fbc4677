# /// script
# dependencies = ["pydantic"]
# ///
"""pydantic's models as arguments and as a result."""

from pydantic import BaseModel, Field


class Item(BaseModel):
    name: str
    price: float = Field(gt=0)


class Bill(BaseModel):
    names: list[str]
    total: float


def order(items: list[Item], times: int = 1) -> Bill:
    return Bill(names=[item.name for item in items], total=sum(i.price for i in items) * times)
