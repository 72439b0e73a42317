"""Speed of the simulator against what a competent NumPy user would write, on one workload and in one run."""
