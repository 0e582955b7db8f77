"""Diagnosis of a deployment, with remedies: `python -m service doctor`."""
