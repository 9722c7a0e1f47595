"""`GET /v1/installation`: what customers may need to know about the installation."""

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field

from dispatcher.version import __version__
from dispatcher.web.authentication import Reader
from dispatcher.web.problems import usual_problems
from dispatcher.web.serving import Served

router = APIRouter(prefix="/v1", tags=["installation"])


class InstallationDocument(BaseModel):
    """An installation."""

    version: str
    egress_ranges: Annotated[
        list[str],
        Field(description="The networks that callbacks come from, for receivers' firewalls. Empty if not set."),
    ]


@router.get(
    "/installation",
    operation_id="get_installation",
    summary="Show the version, and where callbacks come from",
    description="The networks are for receivers' firewalls. The operator sets them.",
    responses=usual_problems(),
)
def get_installation(_: Reader, installation: Served) -> InstallationDocument:
    return InstallationDocument(version=__version__, egress_ranges=installation.settings.egress_networks)
