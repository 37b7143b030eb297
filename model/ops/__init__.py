"""Operations with fast implementations: gated scan and softmax loss."""
