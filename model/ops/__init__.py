"""Operations with fast implementations: causal convolution, gated scan and softmax loss."""
