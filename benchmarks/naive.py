"""The baseline `naive`: a common approach. One Celery task per delivery, `requests.post`, late acks, the ORM.

celery -A benchmarks.naive worker -Q naive -P prefork -c 8
python -m benchmarks.naive COUNT URL MESSAGE    enqueues, and prints how many seconds that took
"""

import os
import sys
import time
from datetime import datetime

import requests
from celery import Celery
from sqlalchemy import ForeignKey, create_engine, func, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

engine = create_engine(os.environ["DATABASE_URL"])
app = Celery("benchmarks.naive", broker=os.environ["BROKER_URL"])
app.conf.update(task_default_queue="naive", task_ignore_result=True)


class Base(DeclarativeBase):
    pass


class Webhook(Base):
    __tablename__ = "naive_webhooks"

    id: Mapped[int] = mapped_column(primary_key=True)
    url: Mapped[str]


class Message(Base):
    __tablename__ = "naive_messages"

    id: Mapped[int] = mapped_column(primary_key=True)
    webhook_id: Mapped[int] = mapped_column(ForeignKey("naive_webhooks.id"))
    body: Mapped[str]


class Attempt(Base):
    __tablename__ = "naive_attempts"

    id: Mapped[int] = mapped_column(primary_key=True)
    message_id: Mapped[int] = mapped_column(ForeignKey("naive_messages.id"), index=True)
    number: Mapped[int]
    status: Mapped[int | None]
    error: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


@app.task(bind=True, acks_late=True, max_retries=10, name="naive.deliver")
def deliver(self, message_id: int) -> None:  # type: ignore[no-untyped-def]
    """One attempt: two SELECTs, one POST, one INSERT, one commit."""
    with Session(engine) as session:
        message = session.get_one(Message, message_id)
        webhook = session.get_one(Webhook, message.webhook_id)
        attempt = Attempt(message_id=message.id, number=self.request.retries + 1)
        try:
            headers = {"Content-Type": "application/json"}
            response = requests.post(webhook.url, data=message.body, headers=headers, timeout=30)
            attempt.status = response.status_code
        except requests.RequestException as error:
            attempt.error = type(error).__name__
        session.add(attempt)
        session.commit()
        failed = attempt.status is None or attempt.status >= 300
    if failed:
        raise self.retry(countdown=90)


def enqueue(count: int, url: str, body: str) -> float:
    """Stores and enqueues `count` messages one by one; returns the seconds it took."""
    with Session(engine, expire_on_commit=False) as session:
        webhook = Webhook(url=url)
        session.add(webhook)
        session.commit()
        began = time.monotonic()
        for _ in range(count):
            message = Message(webhook_id=webhook.id, body=body)
            session.add(message)
            session.commit()
            deliver.apply_async((message.id,))
        return time.monotonic() - began


def empty_tables() -> None:
    Base.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(text("TRUNCATE naive_webhooks, naive_messages, naive_attempts RESTART IDENTITY"))


if __name__ == "__main__":
    _, asked, where, what = sys.argv
    empty_tables()
    sys.stdout.write(f"{enqueue(int(asked), where, what)}\n")
