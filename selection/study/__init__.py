"""What is asked and what came out, as frozen plain values: no torch, no SQL, no Optuna."""
