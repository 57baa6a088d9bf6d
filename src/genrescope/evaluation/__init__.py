"""Predictions to metrics, intervals and pictures, however the predictions were made."""
