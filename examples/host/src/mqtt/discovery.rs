//! How Home Assistant is told of the camera.

use std::fmt::Write;

/// Where it says that it has come.
pub(super) fn status_topic(discovery: &str) -> String {
    format!("{discovery}/status")
}

/// Topic and payload of the message that makes a camera appear there.
pub(super) fn message(discovery: &str, prefix: &str) -> (String, String) {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let id: String = prefix.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    let id = if id.starts_with("camwire") { id } else { format!("camwire_{id}") };
    let text = |rest: &str| json_text(&format!("{prefix}{rest}"));
    let payload = format!(
        "{{\"name\":{name},\"unique_id\":\"{id}\",\"topic\":{topic},\
         \"availability_topic\":{status},\
         \"device\":{{\"identifiers\":[\"{id}\"],\"name\":{name},\"manufacturer\":\"camwire\",\
         \"model\":\"camwire-host\",\"sw_version\":\"{version}\"}}}}",
        name = text(""),
        topic = text("/image"),
        status = text("/status"),
        version = env!("CARGO_PKG_VERSION"),
    );
    (format!("{discovery}/camera/{id}/config"), payload)
}

/// A text as JSON has it (RFC 8259, section 7).
fn json_text(text: &str) -> String {
    let mut json = String::with_capacity(text.len() + 2);
    json.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => json.extend(['\\', c]),
            c if c < ' ' => {
                let _ = write!(json, "\\u{:04x}", u32::from(c));
            }
            c => json.push(c),
        }
    }
    json.push('"');
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_home_assistant_is_told() {
        let (topic, payload) = message("homeassistant", "garden/cam \"1\"");
        assert_eq!(topic, "homeassistant/camera/camwire_garden_cam__1_/config");
        assert!(payload.contains(r#""topic":"garden/cam \"1\"/image""#), "{payload}");
        assert!(payload.contains(r#""availability_topic":"garden/cam \"1\"/status""#));
        assert_eq!(message("ha", "camwire").0, "ha/camera/camwire/config");
        assert_eq!(json_text("a\\b\n\u{e4}"), "\"a\\\\b\\u000a\u{e4}\"");
    }
}
