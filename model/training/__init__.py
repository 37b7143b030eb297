"""The training job: data in, a published bundle out."""
