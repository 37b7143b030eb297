"""What the recommender is, offline: network, kernels, bundle, training. It never imports `service`."""
