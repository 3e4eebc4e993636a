"""What training, sweeping and serving cost, measured beside others."""
