"""The verifier: path-exploring abstract interpretation with the kernel's domain and the kernel's verdicts."""
