//! Random operations on the camera.

mod session;

use proptest::prelude::*;

proptest! {
    #[test]
    fn no_sequence_misuses_the_driver(operations in proptest::collection::vec(any::<u8>(), 0..200)) {
        session::run(&operations);
    }
}
