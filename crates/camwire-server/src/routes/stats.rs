//! `/stats`: the source and its viewers as JSON.

use core::fmt::{self, Write as _};

use camwire_capture::SourceState;
use camwire_frame::{Clock, Instant};

use crate::http::response::{ResponseWriter, Text};
use crate::hub::Hub;
use crate::sender::Disconnect;
use crate::transport::WriteVectored;
use crate::viewer::slot::ViewerStats;

/// It is written as it goes, since there may be more viewers than fit any buffer.
pub(crate) async fn stats<W: WriteVectored, C: Clock>(
    hub: &Hub<'_, C>,
    out: &mut ResponseWriter<'_, W, C>,
) -> Result<(), Disconnect<W::Error>> {
    out.begin("application/json", &[]).await?;
    if out.with_body { body(hub, out).await } else { Ok(()) }
}

// A function of its own, so that its future takes the place of that of `begin`.
async fn body<W: WriteVectored, C: Clock>(
    hub: &Hub<'_, C>,
    out: &mut ResponseWriter<'_, W, C>,
) -> Result<(), Disconnect<W::Error>> {
    let mut text = Text::new();
    write_camera(hub, out, &mut text).await?;
    end(hub, out, &mut text).await
}

/// `/stats` of several cameras: the same of each, with its name.
#[cfg(feature = "cameras")]
pub(crate) async fn stats_of_all<W: WriteVectored, C: Clock>(
    hubs: &[Hub<'_, C>],
    out: &mut ResponseWriter<'_, W, C>,
) -> Result<(), Disconnect<W::Error>> {
    out.begin("application/json", &[]).await?;
    let Some(first) = hubs.first().filter(|_| out.with_body) else { return Ok(()) };
    let mut text = Text::new();
    let mut separator = "{\"cameras\":[\n";
    for hub in hubs {
        let _ = text.write_str(separator);
        write_camera(hub, out, &mut text).await?;
        separator = "},\n";
    }
    let _ = text.write_str("}]");
    end(first, out, &mut text).await
}

/// A camera without the closing brace of its object. What fits `text` is not sent.
async fn write_camera<W: WriteVectored, C: Clock>(
    hub: &Hub<'_, C>,
    out: &mut ResponseWriter<'_, W, C>,
    text: &mut Text,
) -> Result<(), Disconnect<W::Error>> {
    // Each piece is shorter than the text's room, so nothing is ever cut.
    let _ = text.write_str("{");
    if let Some(name) = hub.name() {
        let _ = write!(text, "\"name\":\"{}\",", name.as_str());
        out.send_text(text).await?;
        text.clear();
    }
    let _ = write_source(hub, text);
    let _ = text.write_str(",\n\"viewers\":[");
    out.send_text(text).await?;
    text.clear();
    let mut separator = "\n";
    for slot in hub.viewers() {
        let Some(viewer) = slot.read(hub.clock().now()) else { continue };
        let _ = write!(text, "{separator}{}", Json(viewer));
        separator = ",\n";
        if text.capacity() - text.len() < VIEWER_MAX {
            out.send_text(text).await?;
            text.clear();
        }
    }
    let _ = text.write_str("]");
    Ok(())
}

/// What ends the statistics: the time.
async fn end<W: WriteVectored, C: Clock>(
    hub: &Hub<'_, C>,
    out: &mut ResponseWriter<'_, W, C>,
    text: &mut Text,
) -> Result<(), Disconnect<W::Error>> {
    out.send_text(text).await?;
    text.clear();
    let now = hub.clock().now();
    let uptime = now.saturating_since(hub.started());
    let time = Instant::from_micros(hub.timestamp_us(now));
    let clock = if hub.clock().unix_offset().is_some() { "unix" } else { "boot" };
    let _ = write!(
        text,
        ",\n\"uptime_s\":{}.{:03},\"time_s\":{time},\"clock\":\"{clock}\"}}\n",
        uptime.as_secs(),
        uptime.subsec_millis()
    );
    out.send_text(text).await?;
    out.sender.flush().await
}

/// What `/stats` calls the state of a camera.
pub(crate) fn state<C: Clock>(hub: &Hub<'_, C>, now: Instant) -> &'static str {
    match hub.status().state() {
        #[cfg(feature = "ingest")]
        _ if hub.waits_for_camera() => "waiting",
        // A driver that hangs on a thread of its own cannot report that.
        SourceState::Starting | SourceState::Streaming if !hub.is_healthy_at(now) => "stalled",
        state => state.as_str(),
    }
}

fn write_source<C: Clock>(hub: &Hub<'_, C>, out: &mut Text) -> fmt::Result {
    let status = hub.status();
    let now = hub.clock().now();
    let (width, height) = status.size();
    let state = state(hub, now);
    // As much of it as fits for sure.
    let kind = status.kind().split_at(status.kind().floor_char_boundary(32)).0;
    write!(
        out,
        "\"source\":{{\"kind\":{},\"state\":\"{state}\",\"fps\":{},\"quiet_ms\":{},\
         \"captured\":{},\"dropped\":{},\"width\":{width},\"height\":{height},\
         \"slot_bytes\":{},\"errors\":{},\"error\":",
        Quoted(kind),
        Millihertz(status.millihertz(now)),
        status.quiet(now).as_millis() as u32, // It has no more: it is counted in 32 bits.
        status.captured(),
        hub.ring().dropped(),
        hub.ring().slot_bytes(),
        status.errors(),
    )?;
    let mut error = heapless::String::<96>::new();
    status.write_error(&mut error)?;
    if error.is_empty() { out.write_str("null}") } else { write!(out, "{}}}", Quoted(&error)) }
}

/// Bytes of the longest line about a viewer, and of what may stand before it.
const VIEWER_MAX: usize = 256;

struct Json(ViewerStats);

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let viewer = &self.0;
        write!(f, "{{\"id\":{},\"peer\":", viewer.id)?;
        match viewer.peer {
            Some(peer) => write!(f, "\"{peer}\"")?,
            None => f.write_str("null")?,
        }
        write!(
            f,
            ",\"transport\":\"{}\",\"mode\":\"{}\",\"fps\":{},\"fps_cap\":",
            viewer.transport.as_str(),
            viewer.mode.as_str(),
            Millihertz(viewer.millihertz)
        )?;
        match viewer.cap {
            Some(cap) => write!(f, "{cap}")?,
            None => f.write_str("null")?,
        }
        write!(
            f,
            ",\"sent\":{},\"missed\":{},\"bytes\":{},\"age_ms\":",
            viewer.sent, viewer.missed, viewer.bytes
        )?;
        match viewer.age_ms {
            Some(age) => write!(f, "{age}}}"),
            None => f.write_str("null}"),
        }
    }
}

/// A measured rate as a JSON number with one place.
pub(crate) struct Millihertz(pub(crate) u32);

impl fmt::Display for Millihertz {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = self.0.saturating_add(50) / 100;
        write!(f, "{}.{}", tenths / 10, tenths % 10)
    }
}

/// A JSON string (RFC 8259, section 7).
struct Quoted<'t>(&'t str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                '\0'..'\x20' => f.write_char(' ')?,
                _ => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn strings_are_quoted() {
        assert_eq!(Quoted("a \"b\"\\\n\u{e4}").to_string(), "\"a \\\"b\\\"\\\\ \u{e4}\"");
    }

    #[test]
    fn rates_have_one_place() {
        for (millihertz, text) in [(0, "0.0"), (29_970, "30.0"), (29_949, "29.9"), (500, "0.5")] {
            assert_eq!(Millihertz(millihertz).to_string(), text);
        }
    }
}
