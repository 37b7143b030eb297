"""Operations of the network with fast implementations: the gated scan and the softmax loss."""
