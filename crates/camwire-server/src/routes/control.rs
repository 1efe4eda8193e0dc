//! `/status` and `/control`, as Espressif's CameraWebServer has them, so that its apps and scripts
//! work.

use core::fmt::Write as _;

use camwire_capture::SetError;
use camwire_frame::{Clock, Setting, SettingName};
use embassy_futures::select::{Either, select};
use embedded_io_async::Read;

use crate::http::response::{Answer, Connection, ResponseWriter, Text};
use crate::hub::Hub;
use crate::sender::Disconnect;
use crate::transport::WriteVectored;

/// `/status`: the settings that the source has, by name and number.
pub(crate) async fn status<W: WriteVectored, C: Clock>(
    hub: &Hub<'_, C>,
    out: &mut ResponseWriter<'_, W, C>,
) -> Result<(), Disconnect<W::Error>> {
    let mut json = Text::new();
    let present = |name: &SettingName| hub.settings()?.get(*name);
    let shown = SettingName::ALL.iter().filter_map(present);
    // All of them together fit.
    for (separator, setting) in core::iter::once('{').chain(core::iter::repeat(',')).zip(shown) {
        let (name, number) = (setting.name().as_str(), setting.number());
        let _ = write!(json, "{separator}\"{name}\":{number}");
    }
    let _ = json.write_str(if json.is_empty() { "{}\n" } else { "}\n" });
    let content_type = "application/json";
    out.answer(&Answer { content_type, body: json.as_bytes(), ..Answer::default() }).await
}

/// `/control`: answered when the source has applied the setting.
pub(crate) async fn control<R, W, C>(
    hub: &Hub<'_, C>,
    connection: &mut Connection<'_, R, W, C>,
    setting: Setting,
) -> Result<(), Disconnect<W::Error>>
where
    R: Read,
    W: WriteVectored,
    C: Clock,
{
    let clock = hub.clock();
    let until = clock.sleep_until(clock.now() + hub.config().control_timeout);
    let set = async { hub.settings().ok_or(SetError::Closed)?.set(setting).await };
    let error = match select(set, until).await {
        Either::First(Ok(())) => return connection.out.answer(&Answer::default()).await,
        Either::First(Err(SetError::Closed)) => {
            return connection.unavailable("there is no source").await;
        }
        Either::First(Err(SetError::Busy)) | Either::Second(()) => {
            return connection.unavailable("the source is busy").await;
        }
        Either::First(Err(error)) => error,
    };
    let status = match error {
        SetError::Unsupported | SetError::TooLarge { .. } => "400 Bad Request",
        _ => "500 Internal Server Error",
    };
    let mut reason = heapless::String::<96>::new();
    let _ = write!(reason, "{error}");
    connection.refuse(status, "", &reason).await
}
