/* The parts of esp32-camera's interface that a program sees, with the order and types of the
 * fields that its headers esp_camera.h and sensor.h have (commit 2ac69a6, March 2026; before it,
 * up to 2.1.5, sensor_t ends with set_xclk). */
#ifndef INTERFACE_H
#define INTERFACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef int esp_err_t;
enum {
    ESP_OK = 0,
    ESP_FAIL = -1,
    ESP_ERR_INVALID_STATE = 0x103,
    ESP_ERR_NOT_SUPPORTED = 0x106,
};

/* Enumerations of C without negative values: unsigned int to the compilers of all three chips. */
typedef unsigned int ledc_timer_t, ledc_channel_t, pixformat_t, framesize_t, gainceiling_t;
typedef unsigned int camera_fb_location_t, camera_grab_mode_t;
typedef unsigned int camera_model_t, camera_sccb_addr_t, camera_pid_t;

enum { PIXFORMAT_JPEG = 4, FRAMESIZE_UXGA = 15, FRAMESIZE_INVALID = 25 };
enum { CAMERA_FB_IN_PSRAM, CAMERA_FB_IN_DRAM };
enum { CAMERA_GRAB_WHEN_EMPTY, CAMERA_GRAB_LATEST };
enum { CAMERA_OV2640 = 1, OV2640_SCCB_ADDR = 0x30, OV2640_PID = 0x26 };

typedef struct {
    int pin_pwdn, pin_reset, pin_xclk, pin_sccb_sda, pin_sccb_scl;
    int pin_d7, pin_d6, pin_d5, pin_d4, pin_d3, pin_d2, pin_d1, pin_d0;
    int pin_vsync, pin_href, pin_pclk;
    int xclk_freq_hz;
    ledc_timer_t ledc_timer;
    ledc_channel_t ledc_channel;
    pixformat_t pixel_format;
    framesize_t frame_size;
    int jpeg_quality;
    size_t fb_count;
    camera_fb_location_t fb_location;
    camera_grab_mode_t grab_mode;
    int sccb_i2c_port;
} camera_config_t;

/* ESP-IDF 5: time_t has 64 bits, suseconds_t is a long. */
typedef struct {
    int64_t tv_sec;
    long tv_usec;
} timeval_t;

typedef struct {
    uint8_t *buf;
    size_t len, width, height;
    pixformat_t format;
    timeval_t timestamp;
} camera_fb_t;

typedef struct {
    uint8_t MIDH, MIDL;
    uint16_t PID;
    uint8_t VER;
} sensor_id_t;

typedef struct {
    framesize_t framesize;
    bool scale, binning;
    uint8_t quality;
    int8_t brightness, contrast, saturation, sharpness;
    uint8_t denoise, special_effect, wb_mode, awb, awb_gain, aec, aec2;
    int8_t ae_level;
    uint16_t aec_value;
    uint8_t agc, agc_gain, gainceiling, bpc, wpc, raw_gma, lenc, hmirror, vflip, dcw, colorbar;
} camera_status_t;

typedef struct sensor sensor_t;
typedef int (*level_t)(sensor_t *, int);

struct sensor {
    sensor_id_t id;
    uint8_t slv_addr;
    pixformat_t pixformat;
    camera_status_t status;
    int xclk_freq_hz;
    int (*init_status)(sensor_t *);
    int (*reset)(sensor_t *);
    int (*set_pixformat)(sensor_t *, pixformat_t);
    int (*set_framesize)(sensor_t *, framesize_t);
    level_t set_contrast, set_brightness, set_saturation, set_sharpness, set_denoise;
    int (*set_gainceiling)(sensor_t *, gainceiling_t);
    level_t set_quality, set_colorbar, set_whitebal, set_gain_ctrl, set_exposure_ctrl;
    level_t set_hmirror, set_vflip, set_aec2, set_awb_gain, set_agc_gain, set_aec_value;
    level_t set_special_effect, set_wb_mode, set_ae_level, set_dcw, set_bpc, set_wpc;
    level_t set_raw_gma, set_lenc;
    int (*get_reg)(sensor_t *, int, int);
    int (*set_reg)(sensor_t *, int, int, int);
    int (*set_res_raw)(sensor_t *, int, int, int, int, int, int, int, int, int, int, bool, bool);
    int (*set_pll)(sensor_t *, int, int, int, int, int, int, int, int);
    int (*set_xclk)(sensor_t *, int, int);
    int (*af_is_supported)(sensor_t *);
    int (*af_init)(sensor_t *, uint32_t);
    int (*af_set_mode)(sensor_t *, int);
    int (*af_trigger)(sensor_t *);
    int (*af_get_status)(sensor_t *, uint8_t *, bool *, bool *);
    int (*af_set_manual_position)(sensor_t *, uint16_t);
};

typedef struct {
    camera_model_t model;
    const char *name;
    camera_sccb_addr_t sccb_addr;
    camera_pid_t pid;
    framesize_t max_size;
    bool support_jpeg;
} camera_sensor_info_t;

esp_err_t esp_camera_init(const camera_config_t *config);
esp_err_t esp_camera_deinit(void);
camera_fb_t *esp_camera_fb_get(void);
void esp_camera_fb_return(camera_fb_t *fb);
void esp_camera_return_all(void);
sensor_t *esp_camera_sensor_get(void);
camera_sensor_info_t *esp_camera_sensor_get_info(sensor_id_t *id);
int64_t esp_timer_get_time(void);

#endif
