use crate::surroundings::opaque;
use camwire_frame::Instant;
use camwire_mqtt::{
    Chunker, Command, ControlTopics, Delivery, Dialect, MotorWatchdog, Prefix, Reassembler, Retain,
    Speed, Stamp, Topic,
};

fn prefix() -> Option<Prefix<'static>> {
    Prefix::new(opaque("camera")).ok()
}

fn now() -> Instant {
    Instant::from_micros(opaque(0))
}

/// Everything that a camera needs to send pictures, in any layout.
pub fn send() {
    let Some(prefix) = prefix() else { return };
    let largest = opaque(1);
    for chunker in [
        Chunker::framed(prefix, opaque(1), largest),
        Chunker::indexed(prefix, opaque(Retain::No), largest),
        Chunker::whole(prefix, opaque(Retain::No), largest),
    ] {
        let Ok(chunker) = chunker else { continue };
        let Ok(messages) = chunker.split(opaque(b""), opaque(Stamp::default())) else { continue };
        for message in messages {
            opaque(message.topic().encode(&mut [0; Topic::MAX_LEN]));
            opaque((message.head(), message.body(), message.retain()));
        }
    }
}

/// Everything that a viewer needs, for any layout.
pub fn receive() {
    let Some(prefix) = prefix() else { return };
    let mut reassembler = match opaque(0) {
        0 => Reassembler::<&mut [u8]>::framed(prefix),
        1 => Reassembler::indexed(prefix),
        _ => Reassembler::whole(prefix),
    };
    for filter in reassembler.filters() {
        opaque(filter.encode(&mut [0; Topic::MAX_LEN]));
    }
    while opaque(true) {
        while reassembler.wants_buffer() {
            let _ = reassembler.supply(opaque(&mut []));
        }
        let delivery = Delivery::from_retain_flag(opaque(false));
        let _ = opaque(reassembler.push(opaque(""), opaque(b""), delivery, now()));
        while let Some(event) = reassembler.poll(now()) {
            opaque(event);
        }
        opaque(reassembler.deadline());
    }
    opaque(reassembler.counts());
}

/// Everything that a camera needs to be controlled, in one dialect, motors included.
pub fn obey() {
    let Some(prefix) = prefix() else { return };
    let topics = ControlTopics::new(prefix, Dialect::Camwire);
    let mut motors = MotorWatchdog::new();
    let delivery = Delivery::from_retain_flag(opaque(false));
    match topics.parse(opaque(""), opaque(b""), delivery) {
        Ok(Some(Command::Heartbeat)) => motors.heartbeat(now()),
        Ok(Some(Command::Motor(motor, speed))) => {
            let _ = opaque(motors.set(motor, speed, now()));
        }
        Ok(Some(Command::Led(led))) => _ = opaque(led.duty()),
        other => _ = opaque(other),
    }
    let outputs = motors.outputs(now());
    opaque((outputs.speeds.map(Speed::duty), outputs.until));
}
