"""What bench_inference.py and bench_training.py share, and the libraries that they time, a file each in peers/."""
