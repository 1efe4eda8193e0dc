#![doc = include_str!("guide/start.md")]

#[doc = include_str!("guide/computer.md")]
pub mod computer {}
#[doc = include_str!("guide/embassy.md")]
pub mod embassy {}
#[doc = include_str!("guide/esp_idf.md")]
pub mod esp_idf {}
#[doc = include_str!("guide/memory.md")]
pub mod memory {}
#[doc = include_str!("guide/your_camera.md")]
pub mod your_camera {}
#[doc = include_str!("guide/your_server.md")]
pub mod your_server {}
