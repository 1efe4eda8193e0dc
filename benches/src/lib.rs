//! Comparisons of camwire with its peers. The measurements are in `benches/*.rs` (criterion) and
//! in the program `load`; README.md has the commands.
