"""What a bundle's predictors say of the profile: a number, a class or a segment, and what it rests on."""

from nearhand.predicting.predictors import Prediction, PredictionExplanation, Predictors, Segment

__all__ = ["Prediction", "PredictionExplanation", "Predictors", "Segment"]
