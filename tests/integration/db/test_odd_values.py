"""What PostgreSQL stores and Python has no value for is read as a value far off."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from dispatcher.db.engines import make_engine
from dispatcher.db.odd_values import EARLIEST, LATEST, LONGEST
from dispatcher.settings import Settings

ODD: dict[str, Any] = {
    "timestamptz 'infinity'": LATEST,
    "timestamptz '-infinity'": EARLIEST,
    "timestamptz '20000-01-01 00:00Z'": LATEST,
    "timestamptz '0044-03-15 00:00Z BC'": EARLIEST,
    "timestamptz '2026-11-28 02:14:39.5+02'": datetime(2026, 11, 28, 0, 14, 39, 500_000, UTC),
    "NULL::timestamptz": None,
    "ARRAY[timestamptz 'infinity', NULL, '2026-01-01 00:00Z']": [LATEST, None, datetime(2026, 1, 1, tzinfo=UTC)],
    "interval '170000000 years'": LONGEST,
    "interval '-170000000 years'": -LONGEST,
    "interval '26 hours'": timedelta(hours=26),
    "NULL::interval": None,
}


@pytest.mark.parametrize("literal", ODD)
def test_a_value_that_python_does_not_have_is_one_far_off_which_can_be_calculated_with(
    settings: Settings, literal: str
) -> None:
    engine = make_engine(settings.database_url.get_secret_value())
    try:
        with engine.connect() as connection:
            found = connection.scalar(text(f"SELECT {literal.replace(':', chr(92) + ':')}"))
    finally:
        engine.dispose()
    assert found == ODD[literal]
    for moment in found if isinstance(found, list) else [found]:
        if isinstance(moment, datetime):
            assert moment - timedelta(days=3_650) < moment < moment + timedelta(days=3_650)
