//! The GIL marker contract: the C header, the catalogue, and reading markers out of ELF files.
