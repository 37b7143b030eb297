"""Accuracy of our model beside models of other libraries."""
