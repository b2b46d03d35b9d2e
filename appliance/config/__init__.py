"""The box's TOML file: settings a person writes, checked before anything starts."""

from appliance.config.destinations import (
    KINDS,
    Destination,
    DicomPeer,
    DicomWebPeer,
    FhirPeer,
    Folder,
    Wish,
)
from appliance.config.mistakes import Location, called, line_of
from appliance.config.reading import examine, load
from appliance.config.settings import Box, Cart, Engine, Scp, Settings, Sync, Upstream, Webui
from appliance.config.values import ae_title, host_name, network_address

__all__ = [
    "KINDS",
    "Box",
    "Cart",
    "Destination",
    "DicomPeer",
    "DicomWebPeer",
    "Engine",
    "FhirPeer",
    "Folder",
    "Location",
    "Scp",
    "Settings",
    "Sync",
    "Upstream",
    "Webui",
    "Wish",
    "ae_title",
    "called",
    "examine",
    "host_name",
    "line_of",
    "load",
    "network_address",
]
