"""Interaction data to train and test on: MovieLens when it can be had, simulated film evenings otherwise."""

from model_zoo.datasets.movielens import movielens_dataset
from model_zoo.datasets.resolve import find_dataset
from model_zoo.datasets.sample import sample_dataset

__all__ = ["find_dataset", "movielens_dataset", "sample_dataset"]
