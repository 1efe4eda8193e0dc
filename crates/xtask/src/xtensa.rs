//! The library on the Xtensa chips: that it compiles for them. Their linker is not to be had
//! without Espressif's toolchain.

use crate::{
    check::{Check, Context, Outcome, Tally},
    riscv,
    toolchain::{XTENSA_TARGETS, xtensa_compiler},
};

pub(crate) fn checks() -> Vec<Check> {
    vec![Check::new(
        "xtensa-libraries",
        "every library crate compiles for ESP32 and ESP32-S3",
        libraries,
    )]
}

fn libraries(context: &Context) -> Outcome {
    for target in XTENSA_TARGETS {
        riscv::build_libraries(context, &xtensa_compiler(context, target)?)?;
    }
    Ok(Tally::ONE)
}
