"""Data, artifacts and stages: what each stage computes and which stage feeds which. Never imports Prefect."""
