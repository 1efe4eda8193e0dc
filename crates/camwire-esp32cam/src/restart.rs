use camwire_frame::{
    BlockingFrameSource, CaptureError, Control, ControlError, FrameInfo, Setting, SettingName,
};

use crate::{Camera, CameraError, Config};

/// How many settings there are.
const SETTINGS: usize = SettingName::ALL.len();

/// A [`Camera`] that starts when it is first wanted, and anew when it has failed.
///
/// A camera that does not start need not keep the firmware from serving: each capture tries again,
/// and fails with the driver's own name for the reason meanwhile. When the driver has had no picture
/// for 4 seconds, or only broken ones, it is deinitialised, and initialised by the next capture;
/// the sensor is then set to what it was set to. Sensors do hang, after a dip of their supply for
/// instance, and this is what wakes them.
#[derive(Debug)]
pub struct RestartingCamera {
    config: Config,
    camera: Option<Camera>,
    /// What it is to be set to when it starts, in the order of [`SettingName::ALL`].
    before: [Option<Setting>; SETTINGS],
    starts: u32,
    /// Broken pictures of the cameras before this one.
    broken: u32,
}

impl RestartingCamera {
    /// One that has not been started yet.
    #[must_use]
    pub const fn new(config: Config) -> Self {
        Self { config, camera: None, before: [None; SETTINGS], starts: 0, broken: 0 }
    }

    /// What it is set to when it starts, such as a resolution that is not the largest. What the
    /// sensor refuses is passed over.
    #[must_use]
    pub fn with(mut self, setting: Setting) -> Self {
        let mut places = self.before.iter_mut().zip(SettingName::ALL);
        if let Some((place, _)) = places.find(|(_, name)| **name == setting.name()) {
            *place = Some(setting);
        }
        self
    }

    /// How often it has been started with success: once, if all is well.
    #[must_use]
    pub const fn starts(&self) -> u32 {
        self.starts
    }

    /// How many broken pictures have been passed over, as [`Camera::broken`] has it.
    #[must_use]
    pub fn broken(&self) -> u32 {
        self.broken.saturating_add(self.camera.as_ref().map_or(0, Camera::broken))
    }

    /// The camera, started if it is not.
    fn running(&mut self) -> Result<&mut Camera, CameraError> {
        let camera = match self.camera.take() {
            Some(camera) => camera,
            None => {
                let mut camera = Camera::start(&self.config).map_err(CameraError::Start)?;
                self.starts = self.starts.saturating_add(1);
                for setting in self.before.iter().flatten() {
                    if camera.get(setting.name()) != Some(*setting) {
                        // What the sensor took before and refuses now cannot be helped.
                        let _ = camera.set_now(*setting);
                    }
                }
                camera
            }
        };
        Ok(self.camera.insert(camera))
    }

    fn stop(&mut self) {
        self.broken = self.broken();
        if let Some(camera) = self.camera.take() {
            for (place, name) in self.before.iter_mut().zip(SettingName::ALL) {
                *place = camera.get(*name);
            }
        }
    }
}

impl BlockingFrameSource for RestartingCamera {
    type Error = CameraError;

    /// As [`Camera`]'s; or [`CameraError::Start`].
    fn capture(&mut self, buf: &mut [u8]) -> Result<FrameInfo, CaptureError<CameraError>> {
        let result = self.running()?.capture(buf);
        if let Err(CaptureError::Source(CameraError::Timeout) | CaptureError::Broken) = result {
            self.stop();
        }
        result
    }

    fn resume(&mut self) {
        if let Some(camera) = &mut self.camera {
            camera.resume();
        }
    }
}

/// As [`Camera`]'s. While it is stopped, the settings are those that it will be set to.
impl Control for RestartingCamera {
    type Error = CameraError;

    /// As [`Camera`]'s; it is started if it is not, or the error is [`CameraError::Start`].
    async fn set(&mut self, setting: Setting) -> Result<(), ControlError<CameraError>> {
        self.running().map_err(ControlError::Source)?.set_now(setting)
    }

    fn get(&self, name: SettingName) -> Option<Setting> {
        match &self.camera {
            Some(camera) => camera.get(name),
            None => self.before.iter().flatten().copied().find(|setting| setting.name() == name),
        }
    }
}
