"""Optuna's own conformance tests against our storage."""

from __future__ import annotations

import pickle

import pytest
from optuna.testing.pytest_storages import StorageTestCase

from selection.store.database import Database
from selection.store.optuna_storage import BatchedStorage

pytestmark = [
    pytest.mark.slow,
    pytest.mark.parametrize(
        "shared_database", ["sqlite", "postgres"], indirect=True, scope="session"
    ),
]


class TestOptunaContract(StorageTestCase):
    """Run what Optuna asks of every storage."""

    @pytest.fixture
    def storage(self, database: Database) -> BatchedStorage:
        return database.storage

    def test_pickle_storage(  # type: ignore[override]
        self, storage: BatchedStorage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        copies: list[BatchedStorage] = []
        loads = pickle.loads

        def load(data: bytes) -> BatchedStorage:
            copies.append(loads(data))
            return copies[0]

        monkeypatch.setattr(pickle, "loads", load)
        super().test_pickle_storage(storage)
        # The contract forgets the copy, which has connections and settings of its own.
        with copies[0].engine.connect() as connection:
            is_sqlite = connection.dialect.name == "sqlite"
            setting = "PRAGMA busy_timeout" if is_sqlite else "SHOW lock_timeout"
            assert connection.exec_driver_sql(setting).scalar() in (30_000, "30s")
        copies[0].engine.dispose()
