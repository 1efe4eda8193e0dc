use crate::surroundings::opaque;
use camwire_frame::jpeg::{Scanner, Splitter, inspect};

/// Everything about the structure of JPEG pictures.
pub fn all() {
    let mut bytes = opaque::<&[u8]>(&[]);
    let _ = opaque(inspect(bytes));

    let mut scanner = Scanner::new();
    let _ = opaque(scanner.push(bytes));
    opaque(scanner.size());
    let _ = opaque(scanner.finish());

    let mut splitter = Splitter::new();
    while let Some(piece) = splitter.next(&mut bytes) {
        opaque(piece);
    }
    let _ = opaque(splitter.finish());
}
