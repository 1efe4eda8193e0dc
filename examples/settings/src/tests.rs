use crate::{Setting, Variables, bare_metal, esp_idf};

/// Settings that both firmwares take. Of a variable that is there twice, the last value counts.
const RIGHT: [(&str, &str); 7] = [
    ("CAMWIRE_SSID", "not a network"),
    ("CAMWIRE_PASSWORD", "not a password"),
    ("CAMWIRE_SOURCE", "test-pattern"),
    ("CAMWIRE_BOARD", "ai-thinker"),
    ("CAMWIRE_ADDRESS", "192.0.2.2/24"),
    ("CAMWIRE_GATEWAY", "192.0.2.1"),
    ("CAMWIRE_MQTT", "192.0.2.3"),
];

const C3: [(&str, &str); 2] =
    [("CARGO_FEATURE_ESP32C3", "1"), ("TARGET", "riscv32imc-unknown-none-elf")];

struct Given(Vec<(&'static str, &'static str)>);

impl Variables for Given {
    fn get(&self, name: &str) -> Result<Option<String>, String> {
        let value = self.0.iter().rev().find(|(given, _)| *given == name);
        Ok(value.map(|(_, value)| (*value).to_owned()))
    }
}

fn errors(settings: Vec<Setting>) -> Vec<String> {
    settings.into_iter().filter_map(Result::err).collect()
}

/// The errors of both firmwares with these settings besides the right ones.
fn both(more: &[(&'static str, &'static str)]) -> [Vec<String>; 2] {
    let given = Given([&RIGHT[..], &C3, more].concat());
    [errors(bare_metal(&given)), errors(esp_idf(&given))]
}

#[test]
fn every_value_that_the_readmes_name_is_accepted() {
    for setting in [
        ("CAMWIRE_SSID", "thirty-two bytes are no problem!"),
        ("CAMWIRE_PASSWORD", ""),
        ("CAMWIRE_PASSWORD", "0123456789abcdef0123456789abcdef0123456789abcdef0123456789ABCDEF"),
        ("CAMWIRE_SOURCE", "arducam"),
        ("CAMWIRE_DELIVERY", "together"),
        ("CAMWIRE_DELIVERY", "newest"),
        ("CAMWIRE_DELIVERY", "every"),
        ("CAMWIRE_PORTS", "80,81,8080"),
        ("CAMWIRE_AUTH", "anna:s: \u{e4}"),
        ("CAMWIRE_TOKEN", "mF_9.B5f-4~"),
        ("CAMWIRE_ORIGINS", "https://a.example,http://b.example:8080"),
        ("CAMWIRE_PUSH", "ws://relay.example:8080/ingest"),
        ("CAMWIRE_MQTT", "192.0.2.3:1884"),
        ("CAMWIRE_MQTT_LAYOUT", "indexed"),
        ("CAMWIRE_MQTT_PREFIX", "garden/cam"),
        ("CAMWIRE_MQTT_AUTH", "anna:"),
        ("CAMWIRE_RECEIVE_QUEUE", "5"),
        ("CAMWIRE_RECEIVE_QUEUE", "32"),
        ("CAMWIRE_MOTORS", "yes"),
        ("CAMWIRE_BOARD", "own"),
    ] {
        assert_eq!(both(&[setting]), [[""; 0]; 2], "{setting:?}");
    }
}

#[test]
fn discovery_belongs_to_whole_frames_and_has_a_prefix_of_its_own() {
    let with = |discovery: &'static str, prefix: &'static str| {
        both(&[
            ("CAMWIRE_MQTT_LAYOUT", "whole"),
            ("CAMWIRE_MQTT_DISCOVERY", discovery),
            ("CAMWIRE_MQTT_PREFIX", prefix),
        ])
    };
    for discovery in ["homeassistant", "ha/2", "off", "remove"] {
        assert_eq!(with(discovery, "garden/cam"), [[""; 0]; 2]);
    }
    for (discovery, words) in [("ha/#", "without + and #"), ("garden/cam", "are the same")] {
        for errors in with(discovery, "garden/cam") {
            assert!(matches!(&*errors, [line] if line.contains(words)), "{errors:?}");
        }
    }
}

#[test]
fn each_wrong_value_is_one_error_that_helps() {
    for (name, value, words) in [
        ("CAMWIRE_SSID", "", "1 to 32 bytes"),
        ("CAMWIRE_SSID", "thirty-three bytes: one too many!", "1 to 32 bytes"),
        ("CAMWIRE_PASSWORD", "short", "8 to 63 bytes"),
        ("CAMWIRE_PASSWORD", "Geb\u{fc}hrenfrei", "printable ASCII"),
        ("CAMWIRE_DELIVERY", "tomorrow", "together or newest or every"),
        ("CAMWIRE_ADDRESS", "192.0.2.2", "/24"),
        ("CAMWIRE_ADDRESS", "192.0.2.2/31", "/24"),
        ("CAMWIRE_ADDRESS", "192.0.2.0/24", "not for machines"),
        ("CAMWIRE_ADDRESS", "192.0.2.255/24", "not for machines"),
        ("CAMWIRE_GATEWAY", "?", "192.168.1.1;"),
        ("CAMWIRE_GATEWAY", "192.0.3.1", "in the network of CAMWIRE_ADDRESS"),
        ("CAMWIRE_GATEWAY", "192.0.2.255", "in the network of CAMWIRE_ADDRESS"),
        ("CAMWIRE_MQTT", "my broker", "the address of a broker"),
        ("CAMWIRE_MQTT", "192.0.2.3:0", "the address of a broker"),
        ("CAMWIRE_MQTT_LAYOUT", "loose", "framed or indexed or whole"),
        ("CAMWIRE_MQTT_PREFIX", "garden/#", "without + and #"),
        ("CAMWIRE_MQTT_PREFIX", "$SYS/cam", "no $ at the start"),
        ("CAMWIRE_MQTT_CONTROL", "$share/a/cam", "no $ at the start"),
        ("CAMWIRE_MQTT_CONTROL", "garden/", "no / at the end"),
        ("CAMWIRE_MQTT_AUTH", "anna", "a user, a colon and a password"),
        ("CAMWIRE_MQTT_DISCOVERY", "off", "belongs to CAMWIRE_MQTT_LAYOUT=whole"),
        ("CAMWIRE_PORTS", "", "such as 80,81"),
        ("CAMWIRE_PORTS", "0", "such as 80,81"),
        ("CAMWIRE_PORTS", "65536", "such as 80,81"),
        ("CAMWIRE_PORTS", "80,80", "such as 80,81"),
        ("CAMWIRE_PORTS", "1,2,3,4", "up to 3 ports"),
        ("CAMWIRE_AUTH", "anna", "a user, a colon and a password"),
        ("CAMWIRE_AUTH", ":secret", "a user, a colon and a password"),
        ("CAMWIRE_AUTH", "anna:", "a user, a colon and a password"),
        ("CAMWIRE_TOKEN", "", "1 to 256 letters"),
        ("CAMWIRE_TOKEN", "a b", "letters, digits"),
        ("CAMWIRE_ORIGINS", "a.example", "such as https://a.example"),
        ("CAMWIRE_ORIGINS", "https://a.example/", "such as https://a.example"),
        ("CAMWIRE_PUSH", "relay.example:8080/ingest", "such as ws://relay.example"),
        ("CAMWIRE_PUSH", "ws://relay.example:0/ingest", "such as ws://relay.example"),
        ("CAMWIRE_PUSH", "ws://relay.example", "such as ws://relay.example"),
        ("CAMWIRE_PUSH", "ws://T@relay.example/ingest", "no user and password in it"),
        ("CAMWIRE_PUSH", "ws://anna:b@relay.example/ingest", "no user and password in it"),
        ("CAMWIRE_PUSH", "wss://relay.example/ingest", "no TLS"),
        ("CAMWIRE_PUSH_TOKEN", "T", "belongs to CAMWIRE_PUSH"),
    ] {
        for errors in both(&[(name, value)]) {
            assert!(
                matches!(&*errors, [line] if line.contains(words)),
                "{name}={value}: {errors:?}"
            );
        }
    }
    let (of_bare_metal, of_esp_idf) = (0, 1);
    for (firmware, name, value, words) in [
        (of_bare_metal, "CAMWIRE_SOURCE", "tea leaves", "test-pattern or arducam"),
        (of_bare_metal, "CAMWIRE_RECEIVE_QUEUE", "", "5 to 32"),
        (of_bare_metal, "CAMWIRE_RECEIVE_QUEUE", "4", "5 to 32"),
        (of_bare_metal, "CAMWIRE_RECEIVE_QUEUE", "33", "5 to 32"),
        (of_esp_idf, "CAMWIRE_BOARD", "tea tray", "ai-thinker or esp-eye or "),
        (of_esp_idf, "CAMWIRE_MOTORS", "two", "no or yes"),
    ] {
        let errors = &both(&[(name, value)])[firmware];
        assert!(matches!(&**errors, [line] if line.contains(words)), "{name}={value}: {errors:?}");
    }
}

#[test]
fn settings_that_belong_to_others_are_nothing_alone() {
    let alone = |setting| {
        let given = [&RIGHT[..2], &[("CAMWIRE_BOARD", "own"), setting]].concat();
        errors(esp_idf(&Given(given))).join("\n")
    };
    assert!(alone(("CAMWIRE_GATEWAY", "192.0.2.1")).contains("belongs to CAMWIRE_ADDRESS"));
    assert!(alone(("CAMWIRE_MQTT_PREFIX", "a")).contains("CAMWIRE_MQTT is the broker's address"));
}

#[test]
fn missing_settings_are_all_reported() {
    let nothing = Given(C3.to_vec());
    let errors = [errors(bare_metal(&nothing)), errors(esp_idf(&nothing))];
    for (errors, third) in errors.iter().zip(["SOURCE", "BOARD"]) {
        let needed =
            ["SSID", "PASSWORD", third].map(|name| format!("set CAMWIRE_{name} in the env"));
        assert_eq!(errors.len(), 3, "{errors:?}");
        assert!(
            needed.iter().all(|text| errors.iter().any(|line| line.contains(text))),
            "{errors:?}"
        );
    }
}

#[test]
fn secrets_are_in_no_error() {
    for (name, value) in [
        ("CAMWIRE_PASSWORD", "h\u{fc}sh"),
        ("CAMWIRE_AUTH", "h\u{fc}sh"),
        ("CAMWIRE_TOKEN", "h\u{fc}sh"),
        ("CAMWIRE_PUSH", "wss://anna:h\u{fc}sh@relay.example/"),
        ("CAMWIRE_PUSH", "ws:/anna:h\u{fc}sh@relay.example/"),
        ("CAMWIRE_MQTT", "mqtt://anna:h\u{fc}sh@192.0.2.3"),
        ("CAMWIRE_MQTT_AUTH", "h\u{fc}sh"),
    ] {
        let errors = both(&[(name, value)]).concat();
        assert_eq!(errors.len(), 2, "{name}: {errors:?}");
        assert!(
            !errors.concat().contains("sh@") && !errors.concat().contains("\u{fc}"),
            "{errors:?}"
        );
    }
}

#[test]
fn chip_is_one_and_has_its_target() {
    let chip = |more: &[(&'static str, &'static str)]| {
        errors(bare_metal(&Given([&RIGHT[..], more].concat()))).join("\n")
    };
    let (c3, c6) = (("CARGO_FEATURE_ESP32C3", "1"), ("CARGO_FEATURE_ESP32C6", "1"));
    let (imc, imac) =
        (("TARGET", "riscv32imc-unknown-none-elf"), ("TARGET", "riscv32imac-unknown-none-elf"));
    assert_eq!(chip(&[c3, imc]), "");
    assert_eq!(chip(&[c6, imac]), "");
    assert!(chip(&[]).contains("no chip"));
    assert!(chip(&[c3, c6, imc]).contains("two chips"));
    assert!(chip(&[c3, imac]).contains("esp32c3 needs --target riscv32imc"));
    assert!(chip(&[c6, imc]).contains("esp32c6 needs --target riscv32imac"));
}

#[test]
fn board_is_not_built_for_another_chip() {
    for (board, target, is_right) in [
        ("ai-thinker", "x86_64-unknown-linux-gnu", true),
        ("ai-thinker", "xtensa-esp32-espidf", true),
        ("ai-thinker", "xtensa-esp32s3-espidf", false),
        ("esp32-s3-eye", "xtensa-esp32s3-espidf", true),
        ("esp32-s3-eye", "riscv32imc-esp-espidf", false),
        ("own", "xtensa-esp32s2-espidf", true),
    ] {
        let [_, errors] = both(&[("CAMWIRE_BOARD", board), ("TARGET", target)]);
        let expected = match &*errors {
            [] => is_right,
            [line] => !is_right && line.contains("cargo +esp"),
            _ => false,
        };
        assert!(expected, "{board} for {target}: {errors:?}");
    }
    let [_, errors] = both(&[("CAMWIRE_BOARD", "esp-eye"), ("CAMWIRE_MOTORS", "yes")]);
    assert!(errors.concat().contains("their pins are the camera's"), "{errors:?}");
}

#[test]
fn settings_become_constants() {
    let given =
        Given([&RIGHT[..], &[("CAMWIRE_PORTS", "80,81"), ("CAMWIRE_AUTH", "a:\"b")]].concat());
    let text: String = esp_idf(&given).into_iter().map(Result::unwrap).collect();
    for line in [
        "pub const SSID: &str = \"not a network\";",
        "pub const ADDRESS: Option<(Ipv4Addr, u8)> = Some((Ipv4Addr::new(192, 0, 2, 2), 24));",
        "pub const GATEWAY: Option<Ipv4Addr> = Some(Ipv4Addr::new(192, 0, 2, 1));",
        "pub const PORTS: Option<&[u16]> = Some(&[80, 81]);",
        "pub const AUTH: Option<&str> = Some(\"a:\\\"b\");",
        "pub const MQTT: Option<(Ipv4Addr, u16)> = Some((Ipv4Addr::new(192, 0, 2, 3), 1883));",
        "pub const DELIVERY: crate::Delivery = crate::Delivery::Newest;",
        "pub const MOTORS: bool = false;",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\nin\n{text}");
    }
}
