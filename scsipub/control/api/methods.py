"""Everything that can be asked with a token, in one table."""

from typing import TYPE_CHECKING

from scsipub.control.api.accounts import Accounts
from scsipub.control.api.door import Door, Method
from scsipub.control.api.faults import Faults
from scsipub.control.api.images import Images
from scsipub.control.api.news import News
from scsipub.control.api.targets import Targets
from scsipub.control.api.views import Views

if TYPE_CHECKING:
    from scsipub.control.app import Control


def make_door(control: "Control") -> Door:
    methods: dict[str, Method] = {}
    news = News(control)
    rooms = (Targets(control), Accounts(control), news, Views(control), Images(control), Faults(news))
    for room in rooms:
        methods |= room.methods()
    return Door(control, methods)
