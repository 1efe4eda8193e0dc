//! What Espressif's CameraWebServer answers at `/status` and `/control`, so that its apps and
//! scripts work.

use core::fmt::Write as _;

use camwire_capture::SetError;
use camwire_frame::{Clock, Setting, SettingName};
use embassy_futures::select::{Either, select};
use embedded_io_async::Read;

use crate::connection::{Connection, Disconnect, Outlet, Text};
use crate::io::WriteVectored;
use crate::server::Server;
use crate::{Answer, Application};

impl<C: Clock, A: Application> Server<'_, C, A> {
    /// `/status`: the settings that the source has, by name and number.
    pub(crate) async fn settings<W: WriteVectored>(
        &self,
        out: &mut Outlet<'_, W, C>,
    ) -> Result<(), Disconnect<W::Error>> {
        let mut json = Text::new();
        let present = |name: &SettingName| self.settings?.get(*name);
        let shown = SettingName::ALL.iter().filter_map(present);
        // All of them together fit.
        for (separator, setting) in core::iter::once('{').chain(core::iter::repeat(',')).zip(shown)
        {
            let (name, number) = (setting.name().as_str(), setting.number());
            let _ = write!(json, "{separator}\"{name}\":{number}");
        }
        let _ = json.write_str(if json.is_empty() { "{}\n" } else { "}\n" });
        let content_type = "application/json";
        out.answer(&Answer { content_type, body: json.as_bytes(), ..Answer::default() }).await
    }

    /// `/control`: answered when the source has obeyed.
    pub(crate) async fn control<R, W>(
        &self,
        connection: &mut Connection<'_, R, W, C>,
        setting: Setting,
    ) -> Result<(), Disconnect<W::Error>>
    where
        R: Read,
        W: WriteVectored,
    {
        let until = self.clock.sleep_until(self.clock.now() + self.config.control_timeout);
        let error = match select(self.set(setting), until).await {
            Either::First(Ok(())) => return connection.out.answer(&Answer::default()).await,
            Either::First(Err(SetError::Closed)) => {
                return self.unavailable(connection, "there is no source").await;
            }
            Either::First(Err(SetError::Busy)) => {
                return self.unavailable(connection, "the source is busy").await;
            }
            Either::First(Err(error)) => error,
            Either::Second(()) => {
                return self.unavailable(connection, "the source is busy").await;
            }
        };
        let status = match error {
            SetError::Unsupported | SetError::TooLarge { .. } => "400 Bad Request",
            _ => "500 Internal Server Error",
        };
        let mut reason = heapless::String::<96>::new();
        let _ = write!(reason, "{error}");
        self.refuse(connection, status, "", &reason).await
    }

    async fn set(&self, setting: Setting) -> Result<(), SetError> {
        self.settings.ok_or(SetError::Closed)?.set(setting).await
    }
}
