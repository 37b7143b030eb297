"""Model: network, kernels, bundle and training. Never imports `service`."""
