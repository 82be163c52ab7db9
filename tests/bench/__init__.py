"""Speed, measured side by side as ratios in one run: machines are shared and noisy. Run with ./deploy/dev bench NAME."""
