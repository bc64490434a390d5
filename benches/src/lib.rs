//! Benchmarks of the workspace, under `benches/benches`. Speed is compared here, side by side in one run, and never tested.
