"""The sentences that explain a delivery, a webhook or an event, as the API shows them."""

from collections.abc import Iterable
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from dispatcher.webhooks.explanation.words import Code, Sentence, Value


class SentenceDocument(BaseModel):
    """One sentence of an explanation."""

    model_config = ConfigDict(from_attributes=True)

    code: Annotated[Code, Field(description="What it says, for programs. New codes can be added.")]
    text: Annotated[str, Field(description="The same for people. The wording can change.")]
    parameters: Annotated[dict[str, Value], Field(description="The values in it, by name; times as in RFC 3339.")]


Explanation = Annotated[
    list[SentenceDocument],
    Field(
        description="Why it is where it is, what happens next and when, what a person can do: the most important "
        "sentence first."
    ),
]


def explanation_document(sentences: Iterable[Sentence]) -> list[SentenceDocument]:
    """The sentences as a member of a document."""
    return list(map(SentenceDocument.model_validate, sentences))
