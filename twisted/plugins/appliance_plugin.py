"""Makes ``twist appliance`` known; everything else is in :mod:`appliance.tap`."""

from twisted.application.service import ServiceMaker

appliance_service_maker = ServiceMaker(
    "The appliance",
    "appliance.tap",
    "Terminate TLS, proxy to applications, keep certificates renewed.",
    "appliance",
)
