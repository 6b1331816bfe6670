"""Classes of scikit-learn that have no graph, each with its reason and the nearest rewrite."""

from __future__ import annotations

REFUSED: dict[str, tuple[str, str, str]] = {
    "NMF": (
        "iterative-transform",
        "solves for each row by iteration, and where it stops depends on the other rows of the batch",
        "use TruncatedSVD, or PCA",
    ),
    "MiniBatchNMF": (
        "iterative-transform",
        "solves for each row by iteration, and where it stops depends on the other rows of the batch",
        "use TruncatedSVD, or PCA",
    ),
    "LatentDirichletAllocation": ("iterative-transform", "solves for each row by iteration", "use TruncatedSVD"),
    "KNNImputer": ("unsupported-transformer", "searches the training rows for each hole", "use SimpleImputer"),
    "IterativeImputer": ("unsupported-transformer", "chains models for each hole", "use SimpleImputer"),
    "CountVectorizer": ("text-transformer", "splits texts into words", "compute the columns before the model"),
    "TfidfVectorizer": ("text-transformer", "splits texts into words", "compute the columns before the model"),
    "HashingVectorizer": ("text-transformer", "splits texts into words", "compute the columns before the model"),
}
"""Class name → code, reason, remedy."""
