//! Two motors and their deadman: a second after the last heartbeat they stop, whatever the network
//! and the camera do.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::{io, thread};

use camwire::frame::{Clock as _, Instant};
use camwire::mqtt::{Command, Motor, MotorWatchdog, NoHeartbeatError, Outputs, Speed};

use crate::clock::Clock;

/// What turns a motor.
pub trait Drive {
    /// Lets it turn so fast.
    fn turn(&mut self, motor: Motor, speed: Speed);
}

/// Obeys commands, and sees to it that the motors stop.
#[derive(Debug)]
pub struct Wheels<D> {
    shared: Arc<Shared<D>>,
    clock: Clock,
}

#[derive(Debug)]
struct Shared<D> {
    state: Mutex<State<D>>,
    /// There may be another moment to stop at.
    changed: Condvar,
}

#[derive(Debug)]
struct State<D> {
    motors: MotorWatchdog,
    drive: D,
    /// What the drive was told last, of A and of B. Nothing yet at the start.
    told: [Option<Speed>; 2],
}

impl<D: Drive + Send + 'static> Wheels<D> {
    /// The motors stand still. What stops them is a thread of its own.
    ///
    /// # Errors
    ///
    /// If the thread cannot be had.
    pub fn new(drive: D, clock: Clock) -> io::Result<Self> {
        let mut state = State { motors: MotorWatchdog::new(), drive, told: [None; 2] };
        state.turn(clock.now());
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let watched = Arc::clone(&shared);
        let thread = thread::Builder::new().name("deadman".to_owned()).stack_size(4096);
        thread.spawn(move || watched.stop_in_time(clock))?;
        Ok(Self { shared, clock })
    }

    /// Obeys a heartbeat, and a speed while there are heartbeats.
    ///
    /// # Errors
    ///
    /// If there are none.
    pub fn obey(&self, command: Command) -> Result<(), NoHeartbeatError> {
        let mut state = self.shared.lock();
        // Not before: the thread may have had the lock, and looked later than that.
        let done = state.obey(command, self.clock.now());
        self.shared.changed.notify_one();
        done
    }
}

impl<D: Drive> Shared<D> {
    fn lock(&self) -> MutexGuard<'_, State<D>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stop_in_time(&self, clock: Clock) {
        let mut state = self.lock();
        loop {
            let now = clock.now();
            state = match state.turn(now) {
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(until) => {
                    let waited = self.changed.wait_timeout(state, until.saturating_since(now));
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

impl<D: Drive> State<D> {
    fn obey(&mut self, command: Command, now: Instant) -> Result<(), NoHeartbeatError> {
        let done = match command {
            Command::Heartbeat => {
                self.motors.heartbeat(now);
                Ok(())
            }
            Command::Motor(motor, speed) => self.motors.set(motor, speed, now),
            _ => Ok(()),
        };
        // Whatever it was: if it came late, both motors stop.
        self.turn(now);
        done
    }

    /// Has the motors do what they are to do now, and says when to look again. Nothing else tells
    /// the drive anything.
    fn turn(&mut self, now: Instant) -> Option<Instant> {
        let Outputs { speeds, until } = self.motors.outputs(now);
        for ((motor, speed), told) in
            [Motor::A, Motor::B].into_iter().zip(speeds).zip(&mut self.told)
        {
            if *told != Some(speed) {
                self.drive.turn(motor, speed);
                *told = Some(speed);
            }
        }
        until
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Duration;

    impl Drive for mpsc::Sender<(Motor, i16)> {
        fn turn(&mut self, motor: Motor, speed: Speed) {
            self.send((motor, speed.as_thousandths())).unwrap();
        }
    }

    #[test]
    fn the_motors_stop_without_heartbeats() {
        let (drive, turned) = mpsc::channel();
        let next = || turned.recv_timeout(Duration::from_secs(20)).expect("it turns, or stops");
        let wheels = Wheels::new(drive, Clock::agreeing_with(Instant::ZERO)).unwrap();
        assert_eq!([next(), next()], [(Motor::A, 0), (Motor::B, 0)]);

        let half = Speed::from_thousandths(500).unwrap();
        let forwards = Command::Motor(Motor::A, half);
        assert_eq!(wheels.obey(forwards), Err(NoHeartbeatError));
        for _ in 0..2 {
            assert_eq!(wheels.obey(Command::Heartbeat), Ok(()));
            assert_eq!(wheels.obey(forwards), Ok(()));
            assert_eq!(next(), (Motor::A, 500));
            assert_eq!(next(), (Motor::A, 0), "nobody told it to");
        }
        assert_eq!(wheels.obey(forwards), Err(NoHeartbeatError));
    }

    /// Time passes without the thread having looked: its clock is another than that of the commands,
    /// by which a second is over at once.
    #[test]
    fn a_late_command_before_the_thread_has_looked() {
        let half = Speed::from_thousandths(500).unwrap();
        let [a, b] = [Motor::A, Motor::B].map(|motor| Command::Motor(motor, half));
        for (late, done) in [(Command::Heartbeat, Ok(())), (a, Err(NoHeartbeatError))] {
            let (drive, turned) = mpsc::channel();
            let next = || turned.recv_timeout(Duration::from_secs(20)).expect("it turns, or stops");
            let mut wheels = Wheels::new(drive, Clock::agreeing_with(Instant::ZERO)).unwrap();
            assert_eq!([next(), next()], [(Motor::A, 0), (Motor::B, 0)]);
            for command in [Command::Heartbeat, a, b] {
                assert_eq!(wheels.obey(command), Ok(()));
            }
            assert_eq!([next(), next()], [(Motor::A, 500), (Motor::B, 500)]);

            wheels.clock = Clock::agreeing_with(wheels.clock.now() + MotorWatchdog::TIMEOUT);
            assert_eq!(wheels.obey(late), done);
            assert_eq!([next(), next()], [(Motor::A, 0), (Motor::B, 0)], "{late:?} stops both");
        }
    }

    /// What turned, and not what is to.
    impl Drive for [i16; 2] {
        fn turn(&mut self, motor: Motor, speed: Speed) {
            self[motor as usize] = speed.as_thousandths();
        }
    }

    #[test]
    fn whatever_comes_at_the_deadline_or_later_stops_both() {
        let speed = |thousandths| Speed::from_thousandths(thousandths).unwrap();
        let at = |us| Instant::from_micros(us);
        let late = [
            Some(Command::Heartbeat),
            Some(Command::Motor(Motor::A, speed(100))),
            Some(Command::Motor(Motor::B, Speed::STOP)),
            None, // The thread looks.
        ];
        for command in late {
            for (now, turned) in
                [(999_999, true), (1_000_000, false), (1_000_001, false), (u64::MAX / 2, false)]
            {
                let drive = [i16::MAX; 2];
                let mut state = State { motors: MotorWatchdog::new(), drive, told: [None; 2] };
                state.turn(at(0));
                assert_eq!(state.drive, [0; 2]);
                state.obey(Command::Heartbeat, at(0)).unwrap();
                state.obey(Command::Motor(Motor::A, speed(500)), at(0)).unwrap();
                state.obey(Command::Motor(Motor::B, speed(-500)), at(0)).unwrap();
                assert_eq!(state.drive, [500, -500]);

                match command {
                    Some(command) => _ = state.obey(command, at(now)),
                    None => _ = state.turn(at(now)),
                }
                if turned {
                    assert_ne!(state.drive, [0; 2], "{command:?} after {now} us");
                    continue;
                }
                assert_eq!(state.drive, [0; 2], "{command:?} after {now} us");
                assert_eq!(state.turn(at(now)), None, "nothing turns");
            }
        }
    }
}
