//! Knowledge of trees.
