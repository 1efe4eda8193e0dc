//! Any use of the driver, with faults and dropped futures in it: the simulated camera never objects,
//! and when all is well again it has what the driver says it has.

mod simulated;

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use camwire_arducam::Mega;
use camwire_frame::{CaptureError, Control, ControlError, FrameSource, Resolution, SettingName};
use embassy_futures::block_on;
use proptest::prelude::*;
use simulated::{Delay, IDS, Simulated, Spi, Time, When};

type Driver = Mega<Spi, Delay, Time>;

#[derive(Clone, Debug)]
enum Operation {
    Capture { slot: usize },
    Set(usize, i16),
    Pause,
    Resume,
}

#[derive(Clone, Copy, Debug)]
enum Trouble {
    None,
    /// The bus fails at the transaction after so many more.
    Bus(u64, When),
    Busy,
    NoPicture,
    Length(u32),
    Cut(usize),
    /// The future is dropped when it was polled so often.
    Dropped(u32),
}

fn operation() -> impl Strategy<Value = Operation> {
    let slot = prop_oneof![4 => Just(100_000usize), 1 => 0..12_000usize];
    let setting = (0..SettingName::ALL.len()).prop_flat_map(|index| {
        let (min, max) = SettingName::ALL[index].range();
        // Pictures of more than VGA take too long to draw.
        let max = if SettingName::ALL[index] == SettingName::Resolution { 10 } else { max };
        (min..=max).prop_map(move |number| Operation::Set(index, number))
    });
    prop_oneof![
        4 => slot.prop_map(|slot| Operation::Capture { slot }),
        6 => setting,
        2 => Just(Operation::Pause),
        1 => Just(Operation::Resume),
    ]
}

fn trouble() -> impl Strategy<Value = Trouble> {
    let when = prop_oneof![Just(When::Before), Just(When::After)];
    prop_oneof![
        6 => Just(Trouble::None),
        1 => (0..60u64, when).prop_map(|(after, when)| Trouble::Bus(after, when)),
        1 => Just(Trouble::Busy),
        1 => Just(Trouble::NoPicture),
        1 => prop_oneof![0..3000u32, 4_999_000..5_001_000u32].prop_map(Trouble::Length),
        1 => (0..8000usize).prop_map(Trouble::Cut),
        3 => prop_oneof![1..12u32, 1..200u32].prop_map(Trouble::Dropped),
    ]
}

/// What came of an operation that was not dropped.
#[derive(Debug)]
enum Outcome {
    Done,
    Refused,
    Failed,
}

async fn perform(driver: &mut Driver, operation: &Operation) -> Outcome {
    match *operation {
        Operation::Capture { slot } => {
            let mut buf = vec![0; slot];
            match driver.capture(&mut buf).await {
                Ok(info) => {
                    let resolution = driver.get(SettingName::Resolution).unwrap().number() as u8;
                    let resolution = Resolution::from_number(resolution).unwrap();
                    let size = (resolution.width(), resolution.height());
                    assert_eq!((info.width, info.height), size);
                    Outcome::Done
                }
                Err(CaptureError::TooLarge { needed }) => {
                    assert!(needed > slot);
                    Outcome::Refused
                }
                Err(_) => Outcome::Failed,
            }
        }
        Operation::Set(index, number) => {
            let setting = SettingName::ALL[index].with_number(number).unwrap();
            let before = driver.get(setting.name());
            match driver.set(setting).await {
                Ok(()) => {
                    assert_eq!(driver.get(setting.name()), Some(setting));
                    Outcome::Done
                }
                Err(error) => {
                    assert_eq!(driver.get(setting.name()), before);
                    match error {
                        ControlError::Unsupported => Outcome::Refused,
                        _ => Outcome::Failed,
                    }
                }
            }
        }
        Operation::Pause => {
            driver.pause().await;
            Outcome::Done
        }
        Operation::Resume => {
            driver.resume().await;
            Outcome::Done
        }
    }
}

/// `None` if it was dropped before it was ready.
fn poll<T>(future: impl Future<Output = T>, most: u32) -> Option<T> {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    (0..most).find_map(|_| match future.as_mut().poll(&mut context) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    })
}

/// One operation, what goes wrong meanwhile, and whether the camera is looked at afterwards.
type Step = (Operation, Trouble, bool);

/// False if the last operation was dropped before its end.
fn run(id: u8, script: &[Step]) -> bool {
    let camera = Simulated::new(id);
    camera.set_yielding(true);
    let (spi, delay, time) = camera.parts();
    let mut driver = block_on(Mega::new(spi, delay, time, Resolution::R96X96)).unwrap();
    let (mut is_well, mut is_finished) = (true, true);
    for (number, (operation, trouble, looks)) in script.iter().enumerate() {
        is_well &= matches!(trouble, Trouble::None | Trouble::Dropped(_));
        let mut polls = u32::MAX;
        match *trouble {
            Trouble::None => {}
            Trouble::Bus(after, when) => camera.fail_after(after, when),
            Trouble::Busy => camera.faults(|faults| faults.busy = true),
            Trouble::NoPicture => camera.faults(|faults| faults.no_picture = true),
            Trouble::Length(length) => camera.faults(|faults| faults.length = Some(length)),
            Trouble::Cut(cut) => camera.faults(|faults| faults.cut = Some(cut)),
            Trouble::Dropped(after) => polls = after,
        }
        let outcome = poll(perform(&mut driver, operation), polls);
        is_finished = outcome.is_some();
        camera.faults(|faults| *faults = simulated::Faults { padding: 37, ..Default::default() });
        if !looks && number + 1 < script.len() {
            continue;
        }
        // What trouble left behind may be told now, once.
        if let Err(error) = block_on(driver.capture(&mut [0; 100_000])) {
            assert!(!is_well, "{operation:?} {outcome:?}: {error}");
            block_on(driver.capture(&mut [0; 100_000])).expect("it is got over");
        }
        is_well = true;
        simulated::agree(|name| driver.get(name), &camera.sensor());
    }
    is_finished
}

#[test]
fn each_operation_dropped_at_each_moment() {
    let set = |name: SettingName, number| {
        let index = SettingName::ALL.iter().position(|other| *other == name).unwrap();
        Operation::Set(index, number)
    };
    let capture = Operation::Capture { slot: 100_000 };
    for first in [Operation::Pause, Operation::Resume] {
        for operation in [
            capture.clone(),
            Operation::Capture { slot: 0 },
            set(SettingName::ExposureControl, 0),
            set(SettingName::Resolution, 2),
            Operation::Pause,
            Operation::Resume,
        ] {
            let well = |operation: &Operation| (operation.clone(), Trouble::None, false);
            let is_dropped = |polls: &u32| {
                let dropped = (operation.clone(), Trouble::Dropped(*polls), false);
                // Whatever it was, others may come before a picture is wanted again.
                let next = [Operation::Pause, Operation::Resume, set(SettingName::Gain, 5)];
                let next = well(&next[*polls as usize % next.len()]);
                let script = [well(&set(SettingName::Contrast, 2)), well(&first), dropped, next];
                run(0x84, &script);
                !run(0x84, &script[..3])
            };
            let moments = (1..1000).take_while(is_dropped).count();
            assert!(moments < 999);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn driver_and_camera_agree(
        id in proptest::sample::select(&IDS),
        script in prop::collection::vec((operation(), trouble(), any::<bool>()), 1..20),
    ) {
        run(id, &script);
    }
}
