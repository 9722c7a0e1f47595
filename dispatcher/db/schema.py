"""What all tables share: the PostgreSQL schema, names of constraints, types of columns."""

from datetime import datetime, timedelta
from typing import Annotated, ClassVar, TypeAlias

from sqlalchemy import Boolean, Integer, Interval, LargeBinary, MetaData, Text
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.orm import DeclarativeBase, mapped_column

SCHEMA = "dispatcher"

# What the vault writes. `secrets rotate` finds it by this mark; the table's primary key must be one UUID column.
Ciphertext: TypeAlias = Annotated[bytes, mapped_column(info={"ciphertext": True})]


class Base(DeclarativeBase):
    """All tables share one schema and one convention for names of constraints."""

    metadata = MetaData(
        schema=SCHEMA,
        naming_convention={
            "pk": "%(table_name)s_pkey",
            "fk": "%(table_name)s_%(column_0_name)s_fkey",
            "uq": "%(table_name)s_%(column_0_N_name)s_key",
            "ck": "%(table_name)s_%(constraint_name)s_check",
            "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        },
    )
    type_annotation_map: ClassVar = {
        datetime: TIMESTAMP(timezone=True),
        timedelta: Interval,
        str: Text,
        bytes: LargeBinary,
        int: Integer,
        bool: Boolean,
    }
