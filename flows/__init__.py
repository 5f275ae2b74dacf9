"""Prefect: one flow a stage, the flow that chains them, and their deployments."""
