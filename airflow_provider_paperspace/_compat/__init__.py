"""All imports from Airflow, for every version, except those in ``emulator/pytest_plugin.py``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import airflow
from airflow.providers.common.compat.connection import get_async_connection, get_async_extra_dejson
from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowNotFoundException,
    AirflowOptionalProviderFeatureException,
    AirflowSensorTimeout,
    AirflowSkipException,
    Asset,
    AssetAlias,
    BaseHook,
    BaseOperator,
    BaseOperatorLink,
    BaseSensorOperator,
    PokeReturnValue,
    XCom,
    conf,
    mask_secret,
)

try:
    from airflow.providers.common.compat.sdk import BaseNotifier
except ImportError:  # Airflow 3.0.0 and 3.0.1 look for it in a module that does not exist
    from airflow.sdk.bases.notifier import BaseNotifier

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Connection, Context, TaskInstanceKey

IS_AIRFLOW_2 = airflow.__version__.startswith("2.")

__all__ = [
    "IS_AIRFLOW_2",
    "AirflowException",
    "AirflowFailException",
    "AirflowNotFoundException",
    "AirflowOptionalProviderFeatureException",
    "AirflowSensorTimeout",
    "AirflowSkipException",
    "Asset",
    "AssetAlias",
    "BaseHook",
    "BaseNotifier",
    "BaseOperator",
    "BaseOperatorLink",
    "BaseSensorOperator",
    "Connection",
    "Context",
    "PokeReturnValue",
    "TaskInstanceKey",
    "XCom",
    "conf",
    "get_async_connection",
    "get_async_extra_dejson",
    "mask_secret",
]
