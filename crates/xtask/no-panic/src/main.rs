//! The proof that no panic can be reached in the codecs and the ring: a program that calls each of
//! their public functions with arguments of which the compiler knows nothing. Its panic handler
//! calls a function that there is not, so it links only if nothing can panic. It is never run.
//!
//! The check compares these files with the sources of the crates. For that each call names its
//! function in full: `camwire_crate::function`, `Type::function`, or `<Type as Trait>::function`,
//! with [`opaque::Bare`] as the type for a method that the trait itself provides.
#![no_std]
#![no_main]

mod capture;
mod frame;
mod futures;
mod mqtt;
mod multipart;
mod opaque;
#[cfg(feature = "requests")]
mod requests;
mod ring;
mod websocket;

use core::{hint::black_box, panic::PanicInfo};

#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    #[cfg(feature = "requests")]
    requests::read();
    if cfg!(feature = "futures") {
        futures::call_all();
    } else if !cfg!(feature = "requests") {
        frame::call_all();
        mqtt::call_all();
        multipart::call_all();
        capture::call_all();
        ring::call_all();
        websocket::call_all();
    }
    if cfg!(feature = "panic") {
        black_box(opaque::bytes()[opaque::any::<usize>()]);
    }
    loop {
        black_box(());
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    unsafe extern "C" {
        fn a_panic_can_be_reached(info: *const ()) -> !;
    }
    // SAFETY: it cannot be called, since it does not exist.
    unsafe { a_panic_can_be_reached((&raw const *info).cast()) }
}

/// What portable-atomic needs of the binary. Others may have changed anything meanwhile.
struct Opaque;
critical_section::set_impl!(Opaque);

// SAFETY: it is not safe, but never run.
unsafe impl critical_section::Impl for Opaque {
    unsafe fn acquire() {
        opaque::anything_may_have_happened();
    }

    unsafe fn release((): ()) {
        opaque::anything_may_have_happened();
    }
}
