//! Several cameras: the page that shows them all, and `/metrics` for Prometheus.

use core::fmt::{self, Write as _};

use camwire_frame::Clock;

use crate::http::response::{Answer, ResponseWriter, Text};
use crate::http::target::Target;
use crate::hub::{CameraName, Hub};
use crate::routes::page;
use crate::routes::stats::{Millihertz, state, stats_of_all};
use crate::sender::Disconnect;
use crate::transport::WriteVectored;

/// What there is about all cameras.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overview {
    /// `/`
    Page,
    /// `/stats`
    Stats,
    /// `/healthz`: whether all cameras are healthy.
    Health,
    /// `/metrics`, which a server of one camera has, too.
    Metrics,
}

impl Overview {
    pub(crate) fn of(target: Target<'_>, has_several: bool) -> Option<Self> {
        match target.path {
            "/metrics" => Some(Self::Metrics),
            _ if !has_several => None,
            "/" => Some(Self::Page),
            "/stats" => Some(Self::Stats),
            "/healthz" => Some(Self::Health),
            _ => None,
        }
    }
}

const PAGE: Answer<'_> = Answer { body: include_bytes!("cameras.html"), ..page::PAGE };

pub(crate) async fn overview<W: WriteVectored, C: Clock>(
    hubs: &[Hub<'_, C>],
    out: &mut ResponseWriter<'_, W, C>,
    route: Overview,
) -> Result<(), Disconnect<W::Error>> {
    match route {
        Overview::Page => out.answer(&PAGE).await,
        Overview::Stats => stats_of_all(hubs, out).await,
        Overview::Health => health(hubs, out).await,
        Overview::Metrics => metrics(hubs, out).await,
    }
}

/// `/NAME`: the page is at `/NAME/`, since what it links to is relative.
pub(crate) async fn directory<W: WriteVectored, C: Clock>(
    out: &mut ResponseWriter<'_, W, C>,
    name: CameraName<'_>,
) -> Result<(), Disconnect<W::Error>> {
    let mut fields = heapless::String::<64>::new();
    // Relative, for the sake of proxies that have the server under another path.
    let _ = write!(fields, "Location: {}/\r\n", name.as_str());
    let (status, fields) = ("308 Permanent Redirect", fields.as_str());
    out.answer(&Answer { status, fields, ..Answer::default() }).await
}

async fn health<W: WriteVectored, C: Clock>(
    hubs: &[Hub<'_, C>],
    out: &mut ResponseWriter<'_, W, C>,
) -> Result<(), Disconnect<W::Error>> {
    let mut body = Text::new();
    for name in hubs.iter().filter(|hub| !hub.is_healthy()).filter_map(Hub::name) {
        let _ = writeln!(body, "{}: frames are wanted and none come", name.as_str());
    }
    let status = if body.is_empty() { "200 OK" } else { "503 Service Unavailable" };
    if body.is_empty() {
        let _ = body.write_str("ok\n");
    }
    out.answer(&Answer { status, body: body.as_bytes(), ..Answer::default() }).await
}

/// A metric: its name, type and help, and its value for a camera.
type Metric<'s, C> = (&'static str, &'static str, &'static str, fn(&Hub<'s, C>, &mut Text));

/// The text format of Prometheus, version 0.0.4.
async fn metrics<'s, W: WriteVectored, C: Clock>(
    hubs: &[Hub<'s, C>],
    out: &mut ResponseWriter<'_, W, C>,
) -> Result<(), Disconnect<W::Error>> {
    let all: [Metric<'s, C>; 9] = [
        ("camwire_up", "gauge", "Whether frames come, or none are wanted", |hub, to| {
            put(to, u8::from(hub.is_healthy()));
        }),
        ("camwire_frames_total", "counter", "Frames captured", |hub, to| {
            put(to, hub.status().captured());
        }),
        ("camwire_dropped_total", "counter", "Frames dropped, the ring being full", |hub, to| {
            put(to, hub.ring().dropped());
        }),
        ("camwire_errors_total", "counter", "Errors of the source", |hub, to| {
            put(to, hub.status().errors());
        }),
        ("camwire_fps", "gauge", "Frames per second", |hub, to| {
            put(to, Millihertz(hub.status().millihertz(hub.clock().now())));
        }),
        (
            "camwire_quiet_seconds",
            "gauge",
            "How long frames were wanted and none came",
            |hub, to| {
                let quiet = hub.status().quiet(hub.clock().now());
                put(to, format_args!("{}.{:03}", quiet.as_secs(), quiet.subsec_millis()));
            },
        ),
        ("camwire_viewers", "gauge", "Viewers, of all outputs", |hub, to| {
            put(to, viewers(hub).count());
        }),
        ("camwire_viewer_bytes", "gauge", "Bytes sent to the present viewers", |hub, to| {
            put(to, viewers(hub).map(|viewer| viewer.bytes).sum::<u64>());
        }),
        ("camwire_viewer_missed", "gauge", "Frames missed by the present viewers", |hub, to| {
            put(to, viewers(hub).map(|viewer| u64::from(viewer.missed)).sum::<u64>());
        }),
    ];
    out.begin("text/plain; version=0.0.4", &[]).await?;
    if !out.with_body {
        return Ok(());
    }
    let mut text = Text::new();
    for (name, kind, help, value) in all {
        let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        for hub in hubs {
            let camera = hub.name().map_or("", CameraName::as_str);
            let _ = write!(text, "{name}{{camera=\"{camera}\"}} ");
            value(hub, &mut text);
            send(out, &mut text).await?;
        }
    }
    let _ = text.write_str("# HELP camwire_state The state of the source\n");
    let _ = text.write_str("# TYPE camwire_state gauge\n");
    for hub in hubs {
        let camera = hub.name().map_or("", CameraName::as_str);
        let state = state(hub, hub.clock().now());
        let _ = writeln!(text, "camwire_state{{camera=\"{camera}\",state=\"{state}\"}} 1");
        send(out, &mut text).await?;
    }
    out.sender.flush().await
}

/// Each piece is shorter than the text's room.
async fn send<W: WriteVectored, C: Clock>(
    out: &mut ResponseWriter<'_, W, C>,
    text: &mut Text,
) -> Result<(), Disconnect<W::Error>> {
    out.send_text(text).await?;
    text.clear();
    Ok(())
}

fn put(text: &mut Text, value: impl fmt::Display) {
    let _ = writeln!(text, "{value}");
}

fn viewers<'a, C: Clock>(
    hub: &'a Hub<'_, C>,
) -> impl Iterator<Item = crate::viewer::slot::ViewerStats> + 'a {
    let now = hub.clock().now();
    hub.viewers().iter().filter_map(move |slot| slot.read(now))
}
