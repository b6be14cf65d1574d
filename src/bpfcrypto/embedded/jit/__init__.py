"""Machine code for accepted programs: the embedded engine's fast way to run what the interpreter runs, on the same memory."""
