// A driver that the guide's page on cameras can be run with: it draws test cards.

use camwire::frame::{Quality, Resolution};
use camwire::pattern::TestPattern;
use std::time::Duration;

pub struct Driver {
    pattern: TestPattern,
    buffer: Vec<u8>,
    number: u64,
    running: bool,
    registers: [u8; 256],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DriverError;

impl std::fmt::Display for DriverError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the sensor does not answer")
    }
}

impl Driver {
    pub fn new() -> Self {
        let pattern = TestPattern::new(Resolution::QVGA, Quality::new(12).unwrap());
        Self { pattern, buffer: vec![7; 1 << 16], number: 0, running: true, registers: [0; 256] }
    }

    pub fn picture_blocking(&mut self) -> Result<&[u8], DriverError> {
        if !self.running {
            return Err(DriverError);
        }
        self.number += 1;
        let at = Duration::from_millis(40 * self.number);
        let length = self.pattern.encode(self.number, at, &mut self.buffer).unwrap();
        Ok(&self.buffer[..length + 9]) // With some padding.
    }

    pub async fn picture(&mut self) -> Result<&[u8], DriverError> {
        self.picture_blocking()
    }

    pub async fn start(&mut self) {
        self.running = true;
    }

    pub async fn stop(&mut self) {
        self.running = false;
    }

    pub async fn write_register(&mut self, register: u8, value: u8) -> Result<(), DriverError> {
        self.registers[usize::from(register)] = value;
        Ok(())
    }

    pub fn register(&self, register: u8) -> u8 {
        self.registers[usize::from(register)]
    }
}
