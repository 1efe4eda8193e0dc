//! Random operations on the ring and on a naive model of it.

#[path = "model/mod.rs"]
mod model;

use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn the_ring_does_what_its_model_does(operations in proptest::collection::vec(any::<u8>(), 0..200)) {
        model::run(&operations);
    }
}
