//! A firmware that uses the parts of camwire which its features name, all of their ordinary API,
//! with input of which the compiler knows nothing. It is weighed, not run.

#![no_std]
#![no_main]
// Which of the helpers are used depends on the features.
#![allow(dead_code)]

#[cfg(feature = "jpeg")]
mod jpeg;
#[cfg(any(feature = "mqtt_sender", feature = "mqtt_receiver", feature = "mqtt_control"))]
mod mqtt;
#[cfg(any(feature = "encoder", feature = "decoder", feature = "source"))]
mod multipart;
#[cfg(any(feature = "ring", feature = "capture_loop"))]
mod ring;
#[cfg(feature = "server")]
mod server;
mod surroundings;
#[cfg(any(feature = "ws_server", feature = "ws_client", feature = "ws_socket"))]
mod websocket;

use surroundings::opaque;

#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    firmware();
    loop {
        opaque(());
    }
}

fn firmware() {
    whatever_every_firmware_has();
    #[cfg(feature = "jpeg")]
    jpeg::all();
    #[cfg(feature = "ring")]
    ring::all();
    #[cfg(feature = "capture_loop")]
    ring::capture();
    #[cfg(feature = "encoder")]
    multipart::encode();
    #[cfg(feature = "decoder")]
    multipart::decode();
    #[cfg(feature = "source")]
    multipart::capture();
    #[cfg(feature = "mqtt_sender")]
    mqtt::send();
    #[cfg(feature = "mqtt_receiver")]
    mqtt::receive();
    #[cfg(feature = "mqtt_control")]
    mqtt::obey();
    #[cfg(feature = "ws_server")]
    websocket::serve();
    #[cfg(feature = "ws_client")]
    websocket::connect();
    #[cfg(feature = "ws_socket")]
    websocket::socket();
    #[cfg(feature = "server")]
    server::all();
}

/// The functions that copy, fill and compare memory, and the division of long numbers.
fn whatever_every_firmware_has() {
    let (mut a, mut b) = ([0u8; 64], [0u8; 64]);
    let (a, b) = (&mut opaque(&mut a)[..opaque(1)], &mut opaque(&mut b)[..opaque(1)]);
    a.copy_from_slice(b);
    b.fill(opaque(0));
    b.copy_within(opaque(1).., opaque(0));
    opaque(a == b);
    opaque(opaque(1u64) / opaque(1u64));
    opaque(opaque(1u64) % opaque(1u64));
}
