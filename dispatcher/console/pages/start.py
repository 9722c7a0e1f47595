"""`/`: where people begin."""

from starlette.responses import Response

from dispatcher.console.frame import Pages, Reading

pages = Pages()


@pages.get("/")
def get_start(view: Reading) -> Response:
    return view.goto("/overview")
