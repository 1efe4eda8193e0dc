//! Any message to the control topics of each dialect: a command that is understood can be said
//! again, and then means the same.
#![no_main]

use arbitrary::Arbitrary;
use camwire_frame::Setting;
use camwire_mqtt::{Command, ControlTopics, Delivery, Dialect, Greeting, Prefix};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    topic: u8,
    text: &'a str,
    retained: bool,
    payload: &'a [u8],
}

const TOPICS: [&str; 12] = [
    "",
    "set/",
    "set/resolution",
    "set/quality",
    "set/fps",
    "set/led",
    "camera/shot",
    "camera/stream/start",
    "camera/stream/stop",
    "motor/speed/a",
    "motor/speed/b",
    "motor/deadman/heartbeat",
];

fuzz_target!(|input: Input<'_>| {
    let rest = TOPICS[usize::from(input.topic) % TOPICS.len()];
    let topic = format!("cam/{rest}{}", if input.topic > 200 { input.text } else { "" });
    let delivery = Delivery::from_retain_flag(input.retained);
    for dialect in [Dialect::Camwire, Dialect::Esp32Cam] {
        let topics = ControlTopics::new(Prefix::new("cam").expect("it is one"), dialect);
        let command = match topics.parse(&topic, input.payload, delivery) {
            Ok(Some(command)) => command,
            Ok(None) => continue,
            Err(error) => {
                assert!(!error.to_string().is_empty());
                continue;
            }
        };
        let message = topics.message(command).expect("it was said in this dialect");
        let again = topics.parse(&message.topic().to_string(), message.payload(), Delivery::Live);
        match (command, dialect) {
            // CIF has more pixels than that camera thinks, so that it becomes VGA.
            (Command::Set(Setting::Resolution(_)), Dialect::Esp32Cam) => {
                assert!(matches!(again, Ok(Some(Command::Set(Setting::Resolution(_))))));
            }
            _ => assert_eq!(again, Ok(Some(command))),
        }
        if let Command::Led(led) = command {
            assert!(led.duty() <= 8192);
        }
        if let Command::Motor(_, speed) = command {
            assert!(speed.duty() <= 8191);
        }
    }
    if let Ok(greeting) = Greeting::parse(input.payload) {
        let text = greeting.to_string();
        assert_eq!(Greeting::parse(text.as_bytes()), Ok(greeting));
    }
    let _ = Prefix::new(input.text);
});
