"""Settings: the only reader of ``oncopixel.toml`` and of the environment.

Every value can be overridden by an environment variable ``ONCOPIXEL_<NAME>``, with ``__``
between levels (``ONCOPIXEL_COMPLETION__QUIET_SECONDS=5``). Settings are frozen and passed on;
nothing else reads configuration.
"""

from oncopixel_pacs.settings.analysis import CompletionSettings, InferenceSettings, ResultSettings
from oncopixel_pacs.settings.bucket import BucketSettings
from oncopixel_pacs.settings.configuration import Settings, load_settings
from oncopixel_pacs.settings.delivery import DeliverySettings, RetentionSettings
from oncopixel_pacs.settings.destinations import (
    CStoreDestination,
    DestinationProfile,
    DestinationSettings,
    FolderDestination,
    OrthancDestination,
    StowDestination,
)
from oncopixel_pacs.settings.dimse import PeerSettings, ReceiveSettings, TlsSettings
from oncopixel_pacs.settings.export import ExportSettings
from oncopixel_pacs.settings.http import ApiSettings, MetricsSettings
from oncopixel_pacs.settings.models import BUNDLES, ModelSettings, shipped_models
from oncopixel_pacs.settings.rules import RuleSettings
from oncopixel_pacs.settings.sources import SourceSettings
from oncopixel_pacs.settings.tracing import TracingSettings
from oncopixel_pacs.settings.trusted import TrustedSettings
from oncopixel_pacs.settings.webhooks import WebhookSettings

__all__ = [
    "BUNDLES",
    "ApiSettings",
    "BucketSettings",
    "CStoreDestination",
    "CompletionSettings",
    "DeliverySettings",
    "DestinationProfile",
    "DestinationSettings",
    "ExportSettings",
    "FolderDestination",
    "InferenceSettings",
    "MetricsSettings",
    "ModelSettings",
    "OrthancDestination",
    "PeerSettings",
    "ReceiveSettings",
    "ResultSettings",
    "RetentionSettings",
    "RuleSettings",
    "Settings",
    "SourceSettings",
    "StowDestination",
    "TlsSettings",
    "TracingSettings",
    "TrustedSettings",
    "WebhookSettings",
    "load_settings",
    "shipped_models",
]
