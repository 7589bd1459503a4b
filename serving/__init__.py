"""Hosts the model: HTTP, the engine, and the swap of deployments. It does not know which modalities there are."""
