"""Facts about the kernel's BPF interface, as data: types, prototypes, layouts and errnos. No behaviour lives here."""
