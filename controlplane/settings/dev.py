"""The settings that `make up` runs with: one machine, loopback."""

from controlplane.settings.base import *
