"""Further signatures that a contract can ask for, for receivers that were built for another sender. Pure."""

from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from dispatcher.egress.header_names import HeaderName, free_header

NONCE_HEADERS = ("-timestamp", "-nonce", "-algorithm")  # endings of the name of a nonce signature's header


def _free_with_endings(name: str) -> str:
    for ending in NONCE_HEADERS:
        free_header(name + ending)
    return name


class Digest(StrEnum):
    """Hash functions of a body signature. SHA-1 is for receivers that know nothing else; as an HMAC it is safe."""

    SHA256 = "sha256"
    SHA512 = "sha512"
    SHA1 = "sha1"


class Encoding(StrEnum):
    """How a body signature is written."""

    HEX = "hex"
    BASE64 = "base64"


class BodySignature(BaseModel):
    """An HMAC over the body alone, in a header of the customer's choice: for receivers that were built for another
    sender. The header's value is `prefix` and the signature; the key is the webhook's `body_secret`, as UTF-8."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    header: Annotated[HeaderName, Field(description="The header that the signature is in.")]
    digest: Digest = Digest.SHA256
    encoding: Encoding = Encoding.HEX
    prefix: Annotated[str, Field(max_length=64, pattern=r"^[!-~]*$", description="Before the signature.")] = ""


class NonceSignature(BaseModel):
    """An HMAC-SHA256 over `body.nonce.timestamp`, in base64, with the key `nonce_secret`, as UTF-8. The signature is in
    `header`; `header`-timestamp, -nonce and -algorithm carry what a receiver needs to check it. The body
    is written as `JSON.stringify` writes it: no white space and no needless escapes; numbers and members stay as they
    are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    header: Annotated[
        HeaderName,
        AfterValidator(_free_with_endings),
        Field(description="The header that the signature is in; those of its check begin so."),
    ]

    @property
    def headers(self) -> list[str]:
        """All that a receiver needs."""
        return [self.header, *(f"{self.header}{ending}" for ending in NONCE_HEADERS)]
