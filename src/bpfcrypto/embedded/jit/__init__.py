"""Machine code for the embedded engine, by LLVM."""
