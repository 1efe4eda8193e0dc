//! The machine's timer as embassy's time driver.

use super::register::Register;
use core::cell::RefCell;
use core::task::Waker;
use critical_section::Mutex;
use embassy_time_driver::Driver;
use embassy_time_queue_utils::Queue;

/// `mtime`, which counts at 10 MHz, in two halves.
// SAFETY: it is there.
const NOW: [Register<u32>; 2] = unsafe { [Register::at(0x0200_bff8), Register::at(0x0200_bffc)] };
/// `mtimecmp`: there is an interrupt for as long as the time is not before it.
// SAFETY: it is there.
const ALARM: [Register<u32>; 2] = unsafe { [Register::at(0x0200_4000), Register::at(0x0200_4004)] };

struct MachineTimer {
    queue: Mutex<RefCell<Queue>>,
}

embassy_time_driver::time_driver_impl!(
    static DRIVER: MachineTimer = MachineTimer { queue: Mutex::new(RefCell::new(Queue::new())) }
);

impl Driver for MachineTimer {
    fn now(&self) -> u64 {
        let [low, high] = NOW;
        loop {
            let before = high.read();
            let now = low.read();
            if high.read() == before {
                return u64::from(before) << 32 | u64::from(now);
            }
        }
    }

    fn schedule_wake(&self, at: u64, waker: &Waker) {
        critical_section::with(|cs| {
            let mut queue = self.queue.borrow_ref_mut(cs);
            if queue.schedule_wake(at, waker) {
                set_alarm(queue.next_expiration(self.now()));
            }
        });
    }
}

pub fn on_interrupt() {
    critical_section::with(|cs| {
        set_alarm(DRIVER.queue.borrow_ref_mut(cs).next_expiration(DRIVER.now()));
    });
}

fn set_alarm(at: u64) {
    let [low, high] = ALARM;
    high.write(u32::MAX); // Not too early while only one half is new.
    low.write(at as u32);
    high.write((at >> 32) as u32);
}
