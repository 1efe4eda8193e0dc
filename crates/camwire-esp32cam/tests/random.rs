//! Whatever a program does with the camera, the driver is not misused and loses no buffer.

use camwire_esp32cam::{Board, BufferMemory, Camera, Config, GrabMode, StartError};
use camwire_frame::{
    BlockingFrameSource, CaptureError, Control, Instant, Resolution, SettingName, jpeg,
};
use embassy_futures::block_on;
use esp32_camera_simulator::{Fault, Simulator};
use proptest::{prelude::*, sample::select};

#[derive(Clone, Debug)]
enum Lend {
    Take,
    Return(usize),
    Wait(u32),
}

#[derive(Clone, Debug)]
enum Step {
    /// Operations during which the camera is shared.
    Lend(Vec<Lend>),
    Capture(usize),
    Set(SettingName, i16),
    Resume,
    Wait(u32),
    Plan(Vec<Fault>),
    Refuse(i32),
    StartAnother,
}

fn faults() -> impl Strategy<Value = Vec<Fault>> {
    use Fault::*;
    let one = select(vec![Good, WithoutEnd, StaleTail, Broken, NotJpeg, Silence, TooLarge]);
    prop::collection::vec(one, 0..12)
}

fn step() -> impl Strategy<Value = Step> {
    let lend = prop_oneof![
        3 => Just(Lend::Take),
        2 => (0usize..8).prop_map(Lend::Return),
        1 => (0u32..500).prop_map(Lend::Wait),
    ];
    prop_oneof![
        2 => prop::collection::vec(lend, 0..10).prop_map(Step::Lend),
        4 => select(vec![0usize, 1000, 20_000, 500_000]).prop_map(Step::Capture),
        3 => (select(SettingName::ALL), -5i16..1300).prop_map(|(name, n)| Step::Set(name, n)),
        1 => Just(Step::Resume),
        1 => (0u32..5000).prop_map(Step::Wait),
        2 => faults().prop_map(Step::Plan),
        1 => select(vec![-1, 1, 0x107]).prop_map(Step::Refuse),
        1 => Just(Step::StartAnother),
    ]
}

fn session() -> impl Strategy<Value = (Config, Vec<Step>)> {
    let sizes = select(Resolution::ALL);
    let grab = select(vec![GrabMode::WhenEmpty, GrabMode::Latest]);
    (sizes, 1u8..=4, grab, prop::collection::vec(step(), 0..25)).prop_map(
        |(largest, buffers, grab, steps)| {
            let config = Config::new(Board::AI_THINKER.pins)
                .largest(largest)
                .buffers(buffers, BufferMemory::Psram)
                .grab(grab);
            (config, steps)
        },
    )
}

fn run(simulator: &Simulator, config: &Config, steps: Vec<Step>) {
    let mut camera = Camera::start(config).unwrap();
    let mut buf = vec![0; 500_000];
    let mut newest = Instant::ZERO;
    for step in steps {
        match step {
            Step::Lend(operations) => {
                let mut frames = Vec::new();
                for operation in operations {
                    match operation {
                        Lend::Take => {
                            frames.extend(camera.frame().map(|frame| (frame.to_vec(), frame)));
                        }
                        Lend::Return(index) if index < frames.len() => drop(frames.remove(index)),
                        Lend::Return(_) => {}
                        Lend::Wait(millis) => simulator.advance_millis(millis),
                    }
                    assert_eq!(simulator.lent(), frames.len());
                    assert!(frames.iter().all(|(copy, frame)| copy[..] == **frame));
                }
            }
            Step::Capture(room) => match camera.capture(&mut buf[..room]) {
                Ok(info) => {
                    let picture = jpeg::inspect(&buf[..info.len]).unwrap();
                    assert_eq!((picture.width, picture.height), (info.width, info.height));
                    assert!(info.captured_at > newest, "no picture twice, none from the past");
                    newest = info.captured_at;
                }
                Err(CaptureError::TooLarge { needed }) => assert!(needed > room),
                Err(_) => {}
            },
            Step::Set(name, number) => {
                if let Some(setting) = name.with_number(number)
                    && block_on(camera.set(setting)).is_ok()
                {
                    newest = camwire_esp32cam::now();
                }
            }
            Step::Resume => {
                camera.resume();
                newest = camwire_esp32cam::now();
            }
            Step::Wait(millis) => simulator.advance_millis(millis),
            Step::Plan(faults) => simulator.plan(&faults),
            Step::Refuse(answer) => simulator.refuse_next(answer),
            Step::StartAnother => {
                assert_eq!(Camera::start(config).unwrap_err(), StartError::InUse);
            }
        }
        assert_eq!(simulator.lent(), 0);
        assert_eq!(simulator.misuse(), None);
    }
}

proptest! {
    #[test]
    fn no_sequence_misuses_the_driver(sessions in prop::collection::vec(session(), 1..4)) {
        let simulator = Simulator::default();
        for (config, steps) in sessions {
            run(&simulator, &config, steps);
            let counts = simulator.counts();
            prop_assert_eq!(counts.gets, counts.returns);
            prop_assert_eq!(counts.inits, counts.deinits);
        }
    }
}
