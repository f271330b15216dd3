"""The HTTP face: a gateway to services, their health, and workflows; needs the extra `gateway`."""
