"""What bench_inference.py and bench_training.py share."""
