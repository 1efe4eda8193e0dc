/* A stand-in for the driver esp32-camera and an OV2640, in simulated time.
 *
 * It follows the driver's ways where a program can notice them: buffers of a fifth of the pixels,
 * fixed at init; one frame per VSYNC into a free buffer, or none when no buffer is free; a queue
 * of fb_count frames, one fewer with CAMERA_GRAB_LATEST, whose oldest gives way; 4 s of waiting,
 * then NULL; the length cut at the last FF D9, and frames without one put back in silence; width
 * and height from the setting of the moment.
 *
 * Where the driver would corrupt itself in silence, this one notes the misuse.
 *
 * A test may look at it from another thread than the one that has the camera. */
#define _POSIX_C_SOURCE 200809L

#include "interface.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BUFFERS = 8, PLAN = 256, TIMEOUT_US = 4000000, FRAME_US = 40000 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t hang_changed = PTHREAD_COND_INITIALIZER;

static void unlock(int *locked) {
    (void)locked;
    pthread_mutex_unlock(&lock);
}

/* Until the end of the function that it stands in. Every function that is not static has it. */
#define LOCKED int locked __attribute__((cleanup(unlock))) = pthread_mutex_lock(&lock); (void)locked

/* What becomes of a frame: the order is that of `Fault` in lib.rs. */
typedef enum {
    GOOD,
    WITHOUT_END,      /* the EOI is missing */
    STALE_TAIL,       /* behind the picture, the end of an older and larger one */
    BROKEN,           /* an SOI and an EOI, and nonsense in between */
    NOT_JPEG,         /* no SOI: the driver drops it while it arrives */
    SILENCE,          /* no VSYNC at all */
    TOO_LARGE,        /* more than the buffer holds */
} fault_t;

/* Draws a picture that can be looked at; 0 if it does not fit. `settings` are those of expose(). */
typedef size_t draw_t(uint16_t width, uint16_t height, const int *settings, uint32_t number,
                      int64_t time, uint8_t *out, size_t capacity);

static const uint16_t SIZES[FRAMESIZE_INVALID][2] = {
    {96, 96},     {160, 120},   {128, 128},   {176, 144},   {240, 176},   {240, 240},
    {320, 240},   {320, 320},   {400, 296},   {480, 320},   {640, 480},   {800, 600},
    {1024, 768},  {1280, 720},  {1280, 1024}, {1600, 1200}, {1920, 1080}, {720, 1280},
    {864, 1536},  {2048, 1536}, {2560, 1440}, {2560, 1600}, {1088, 1920}, {2560, 1920},
    {2592, 1944},
};

typedef struct {
    camera_fb_t fb;
    bool free;        /* the driver may fill it */
    bool lent;        /* the program has it */
} frame_t;

static struct {
    int64_t now, next_vsync;
    int64_t began;    /* if not 0, time is real, and the chip was switched on then */
    draw_t *draw;     /* and this draws the pictures */
    const char *misuse;
    /* What is to go wrong. */
    esp_err_t init_error;
    bool no_psram, bare_sensor;
    int refusal;
    fault_t plan[PLAN];
    size_t planned, played;
    fault_t rest;
    bool hang, hanging;
    /* What happened. */
    camera_config_t config;
    size_t inits, deinits, gets, returns, orders;
    uint32_t pictures;
    const char *order;
    int order_value;
} world = {.now = 1000000};

/* What the driver has while it is initialised. */
typedef struct {
    sensor_t sensor;
    frame_t frames[BUFFERS];
    size_t count, capacity;
    frame_t *queue[BUFFERS];
    size_t queued, queue_length;
    frame_t *receiving;
    framesize_t receiving_size;
} driver_t;

static driver_t *driver;

static void misuse(const char *what) {
    if (!world.misuse) world.misuse = what;
}

/* ---- the sensor ---- */

static bool told(sensor_t *sensor, const char *order, int value, int *answer) {
    if (!driver || sensor != &driver->sensor) {
        misuse("a sensor function with what is not the sensor");
        *answer = -1;
        return false;
    }
    world.orders++;
    world.order = order;
    world.order_value = value;
    *answer = world.refusal;
    world.refusal = 0;
    return *answer == 0;
}

/* As the OV2640's functions: what is out of range is refused or clamped, the status keeps it. */
#define LEVEL(function, field, min, max, clamps)                          \
    static int function(sensor_t *sensor, int value) {                    \
        LOCKED;                                                           \
        int answer;                                                       \
        if (!told(sensor, #function, value, &answer)) return answer;      \
        if (!(clamps) && (value < (min) || value > (max))) return -1;     \
        value = value < (min) ? (min) : value > (max) ? (max) : value;    \
        sensor->status.field = value;                                     \
        return 0;                                                         \
    }

LEVEL(set_contrast, contrast, -2, 2, false)
LEVEL(set_brightness, brightness, -2, 2, false)
LEVEL(set_saturation, saturation, -2, 2, false)
LEVEL(set_quality, quality, 0, 63, true)
LEVEL(set_colorbar, colorbar, 0, 1, true)
LEVEL(set_whitebal, awb, 0, 1, true)
LEVEL(set_gain_ctrl, agc, 0, 1, true)
LEVEL(set_exposure_ctrl, aec, 0, 1, true)
LEVEL(set_hmirror, hmirror, 0, 1, true)
LEVEL(set_vflip, vflip, 0, 1, true)
LEVEL(set_aec2, aec2, 0, 1, true)
LEVEL(set_awb_gain, awb_gain, 0, 1, true)
LEVEL(set_agc_gain, agc_gain, 0, 30, true)
LEVEL(set_aec_value, aec_value, 0, 1200, true)
LEVEL(set_special_effect, special_effect, 0, 6, false)
LEVEL(set_wb_mode, wb_mode, 0, 4, false)
LEVEL(set_ae_level, ae_level, -2, 2, false)
LEVEL(set_dcw, dcw, 0, 1, true)
LEVEL(set_bpc, bpc, 0, 1, true)
LEVEL(set_wpc, wpc, 0, 1, true)
LEVEL(set_raw_gma, raw_gma, 0, 1, true)
LEVEL(set_lenc, lenc, 0, 1, true)

static int set_sharpness(sensor_t *sensor, int value) {
    LOCKED;
    int answer;
    told(sensor, "set_sharpness", value, &answer);
    return -1;
}

static int set_gainceiling(sensor_t *sensor, gainceiling_t value) {
    LOCKED;
    int answer;
    if (told(sensor, "set_gainceiling", (int)value, &answer)) sensor->status.gainceiling = value;
    return answer;
}

static int set_framesize(sensor_t *sensor, framesize_t size) {
    LOCKED;
    int answer;
    if (size >= FRAMESIZE_INVALID) {
        misuse("a frame size beyond the table");
        return -1;
    }
    if (!told(sensor, "set_framesize", (int)size, &answer)) return answer;
    if (SIZES[size][0] * SIZES[size][1] / 5 > (long)driver->capacity || size > FRAMESIZE_UXGA) {
        misuse("a frame size beyond the buffers or the sensor");
        return -1;
    }
    sensor->status.framesize = size;
    return 0;
}

static void attach(sensor_t *sensor) {
    sensor->id = (sensor_id_t){.MIDH = 0x7F, .MIDL = 0xA2, .PID = OV2640_PID, .VER = 0x42};
    sensor->slv_addr = OV2640_SCCB_ADDR;
    sensor->set_framesize = set_framesize;
    sensor->set_quality = set_quality;
    if (world.bare_sensor) return;
    sensor->set_contrast = set_contrast;
    sensor->set_brightness = set_brightness;
    sensor->set_saturation = set_saturation;
    sensor->set_sharpness = set_sharpness;
    sensor->set_gainceiling = set_gainceiling;
    sensor->set_colorbar = set_colorbar;
    sensor->set_whitebal = set_whitebal;
    sensor->set_gain_ctrl = set_gain_ctrl;
    sensor->set_exposure_ctrl = set_exposure_ctrl;
    sensor->set_hmirror = set_hmirror;
    sensor->set_vflip = set_vflip;
    sensor->set_aec2 = set_aec2;
    sensor->set_awb_gain = set_awb_gain;
    sensor->set_agc_gain = set_agc_gain;
    sensor->set_aec_value = set_aec_value;
    sensor->set_special_effect = set_special_effect;
    sensor->set_wb_mode = set_wb_mode;
    sensor->set_ae_level = set_ae_level;
    sensor->set_dcw = set_dcw;
    sensor->set_bpc = set_bpc;
    sensor->set_wpc = set_wpc;
    sensor->set_raw_gma = set_raw_gma;
    sensor->set_lenc = set_lenc;
}

/* ---- frames ---- */

static fault_t next_fault(void) {
    return world.played < world.planned ? world.plan[world.played++ % PLAN] : world.rest;
}

/* Writes a picture into the buffer as the DMA does, in whole blocks, so with what was there before
 * behind it; the answer is the length before the driver looks for an EOI. */
static size_t expose(frame_t *frame, framesize_t size, fault_t fault) {
    uint8_t *out = frame->fb.buf;
    size_t length = 0;
    uint16_t width = SIZES[size][0], height = SIZES[size][1];
    if (world.draw) {
        const camera_status_t *status = &driver->sensor.status;
        const int settings[] = {status->quality, status->brightness, status->saturation,
                                status->hmirror, status->vflip,      status->colorbar};
        return world.draw(width, height, settings, ++world.pictures, world.now, out,
                          driver->capacity);
    }
    const uint8_t head[] = {
        0xFF, 0xD8, 0xFF, 0xC0, 0, 11, 8, height >> 8, height & 255, width >> 8, width & 255, 1,
        1, 0x11, 0, 0xFF, 0xDA, 0, 8, 1, 1, 0, 0, 63, 0,
    };
    memcpy(out, head, sizeof head);
    length = sizeof head;
    world.pictures++;
    for (int shift = 24; shift >= 0; shift -= 8) {
        /* Seven bits at a time would be denser; half a byte at a time is never FF. */
        out[length++] = (world.pictures >> shift >> 4) & 15;
        out[length++] = (world.pictures >> shift) & 15;
    }
    /* A third of what the driver expects at most for that size. */
    size_t data = fault == TOO_LARGE ? driver->capacity - length : (size_t)width * height / 15;
    memset(out + length, 0x55, data);
    length += data;
    if (fault == BROKEN) out[3] = 0x55;
    if (fault == TOO_LARGE) return length;
    if (fault != WITHOUT_END) {
        out[length++] = 0xFF;
        out[length++] = 0xD9;
    }
    memset(out + length, 0, 100);
    length += 100;
    if (fault == STALE_TAIL) {
        out[length++] = 0xFF;
        out[length++] = 0xD9;
    }
    return length;
}

static void finish_frame(void) {
    frame_t *frame = driver->receiving;
    driver->receiving = NULL;
    fault_t fault = next_fault();
    if (fault == NOT_JPEG) return;
    frame->fb.len = expose(frame, driver->receiving_size, fault);
    frame->free = false;
    if (driver->queued == driver->queue_length) {
        driver->queue[0]->free = true;
        driver->queued--;
        memmove(driver->queue, driver->queue + 1, driver->queued * sizeof *driver->queue);
    }
    driver->queue[driver->queued++] = frame;
}

static void start_frame(void) {
    for (size_t i = 0; i < driver->count && !driver->receiving; i++) {
        frame_t *frame = &driver->frames[i];
        if (!frame->free) continue;
        driver->receiving = frame;
        driver->receiving_size = driver->sensor.status.framesize;
        frame->fb.timestamp.tv_sec = world.now / 1000000;
        frame->fb.timestamp.tv_usec = world.now % 1000000;
    }
}

static bool silent(void) {
    fault_t next = world.played < world.planned ? world.plan[world.played % PLAN] : world.rest;
    return next == SILENCE;
}

static void run_until(int64_t time) {
    while (world.next_vsync <= time) {
        world.now = world.next_vsync;
        world.next_vsync += FRAME_US;
        if (!driver) continue;
        if (silent()) {
            next_fault();
            driver->receiving = NULL;
            continue;
        }
        if (driver->receiving) finish_frame();
        start_frame();
    }
    world.now = time;
}

static int64_t real_time(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * (int64_t)1000000 + now.tv_nsec / 1000;
}

/* What has happened till now, if time is real. */
static void catch_up(void) {
    if (!world.began) return;
    int64_t now = real_time() - world.began;
    /* Pictures that nobody will see are not drawn. */
    int64_t behind = (now - world.next_vsync) / FRAME_US;
    if (behind > BUFFERS) world.next_vsync += (behind - BUFFERS) * FRAME_US;
    run_until(now);
}

/* Waits for that moment. */
static void wait_until(int64_t time) {
    if (world.began) {
        int64_t rest = time - (real_time() - world.began);
        struct timespec nap = {.tv_sec = rest / 1000000, .tv_nsec = rest % 1000000 * 1000};
        if (rest > 0) nanosleep(&nap, NULL);
    }
    run_until(time);
}

/* ---- the driver's interface ---- */

int64_t esp_timer_get_time(void) {
    LOCKED;
    catch_up();
    return world.now;
}

esp_err_t esp_camera_init(const camera_config_t *config) {
    LOCKED;
    if (driver) {
        misuse("a second init");
        return ESP_ERR_INVALID_STATE;
    }
    catch_up();
    world.config = *config;
    if (config->fb_count == 0 || config->fb_count > BUFFERS) misuse("an impossible fb_count");
    if (config->frame_size >= FRAMESIZE_INVALID) misuse("a frame size beyond the table");
    if (config->pixel_format != PIXFORMAT_JPEG) misuse("a format other than JPEG");
    if (world.misuse) return ESP_FAIL;
    if (world.init_error) return world.init_error;
    if (world.no_psram && config->fb_location == CAMERA_FB_IN_PSRAM) return ESP_FAIL;

    driver = calloc(1, sizeof *driver);
    attach(&driver->sensor);
    framesize_t size = config->frame_size > FRAMESIZE_UXGA ? FRAMESIZE_UXGA : config->frame_size;
    driver->sensor.status.framesize = size;
    driver->sensor.status.quality = config->jpeg_quality;
    driver->sensor.pixformat = config->pixel_format;
    driver->capacity = SIZES[size][0] * SIZES[size][1] / 5;
    driver->count = config->fb_count;
    driver->queue_length = config->fb_count;
    if (config->grab_mode == CAMERA_GRAB_LATEST && config->fb_count > 1) driver->queue_length--;
    for (size_t i = 0; i < driver->count; i++) {
        driver->frames[i].fb.buf = malloc(driver->capacity);
        driver->frames[i].free = true;
    }
    world.inits++;
    world.next_vsync = world.now + FRAME_US;
    return ESP_OK;
}

esp_err_t esp_camera_deinit(void) {
    LOCKED;
    if (!driver) {
        misuse("deinit without init");
        return ESP_FAIL;
    }
    for (size_t i = 0; i < driver->count; i++) {
        if (driver->frames[i].lent) misuse("deinit with a frame out");
        free(driver->frames[i].fb.buf);
    }
    free(driver);
    driver = NULL;
    world.deinits++;
    return ESP_OK;
}

camera_fb_t *esp_camera_fb_get(void) {
    LOCKED;
    if (!driver) {
        misuse("fb_get without init");
        return NULL;
    }
    world.hanging = world.hang;
    pthread_cond_broadcast(&hang_changed);
    while (world.hang) pthread_cond_wait(&hang_changed, &lock);
    world.hanging = false;
    catch_up();
    int64_t end = world.now + TIMEOUT_US;
    for (;;) {
        if (!driver->queued) {
            if (world.next_vsync >= end) {
                wait_until(end);
                return NULL;
            }
            wait_until(world.next_vsync);
            continue;
        }
        frame_t *frame = driver->queue[0];
        driver->queued--;
        memmove(driver->queue, driver->queue + 1, driver->queued * sizeof *driver->queue);

        size_t length = frame->fb.len;
        const uint8_t *at = frame->fb.buf;
        while (length >= 2 && !(at[length - 2] == 0xFF && at[length - 1] == 0xD9)) length--;
        if (length < 2) {
            frame->free = true;
            continue;
        }
        frame->fb.len = length;
        frame->fb.width = SIZES[driver->sensor.status.framesize][0];
        frame->fb.height = SIZES[driver->sensor.status.framesize][1];
        frame->fb.format = driver->sensor.pixformat;
        frame->lent = true;
        world.gets++;
        return &frame->fb;
    }
}

static void take_back(frame_t *frame) {
    /* Whoever still reads it is to notice. */
    memset(frame->fb.buf, 0xDD, driver->capacity);
    frame->lent = false;
    frame->free = true;
}

void esp_camera_fb_return(camera_fb_t *fb) {
    LOCKED;
    if (!driver) {
        misuse("fb_return without init");
        return;
    }
    for (size_t i = 0; i < driver->count; i++) {
        frame_t *frame = &driver->frames[i];
        if (&frame->fb != fb) continue;
        if (!frame->lent) {
            misuse("fb_return of a frame that is not out");
            return;
        }
        take_back(frame);
        world.returns++;
        return;
    }
    misuse("fb_return of what is no frame");
}

void esp_camera_return_all(void) {
    LOCKED;
    if (!driver) {
        misuse("return_all without init");
        return;
    }
    for (size_t i = 0; i < driver->count; i++) {
        if (driver->frames[i].lent) take_back(&driver->frames[i]);
    }
}

sensor_t *esp_camera_sensor_get(void) {
    LOCKED;
    if (!driver) misuse("sensor_get without init");
    return driver ? &driver->sensor : NULL;
}

camera_sensor_info_t *esp_camera_sensor_get_info(sensor_id_t *id) {
    LOCKED;
    static camera_sensor_info_t ov2640 = {
        CAMERA_OV2640, "OV2640", OV2640_SCCB_ADDR, OV2640_PID, FRAMESIZE_UXGA, true,
    };
    return id->PID == OV2640_PID ? &ov2640 : NULL;
}

/* ---- for the tests ---- */

void simulator_reset(void) {
    LOCKED;
    if (driver) {
        for (size_t i = 0; i < driver->count; i++) free(driver->frames[i].fb.buf);
        free(driver);
        driver = NULL;
    }
    memset(&world, 0, sizeof world);
    world.now = 1000000;
}

void simulator_live(draw_t *draw) {
    LOCKED;
    world.draw = draw;
    world.began = real_time() - world.now;
}

void simulator_advance(int64_t micros) {
    LOCKED;
    run_until(world.now + micros);
}

void simulator_plan(int fault) {
    LOCKED;
    if (world.planned - world.played < PLAN) world.plan[world.planned++ % PLAN] = (fault_t)fault;
}

void simulator_plan_rest(int fault) {
    LOCKED;
    world.rest = (fault_t)fault;
}

void simulator_fail_init(esp_err_t error) {
    LOCKED;
    world.init_error = error;
}

void simulator_remove_psram(void) {
    LOCKED;
    world.no_psram = true;
}

void simulator_bare_sensor(void) {
    LOCKED;
    world.bare_sensor = true;
}

void simulator_refuse_next(int answer) {
    LOCKED;
    world.refusal = answer;
}

/* The next fb_get does not come back while this is so. */
void simulator_hang(bool hang) {
    LOCKED;
    world.hang = hang;
    pthread_cond_broadcast(&hang_changed);
}

/* Waits until somebody is in an fb_get that hangs. */
void simulator_wait_for_hang(void) {
    LOCKED;
    while (!world.hanging) pthread_cond_wait(&hang_changed, &lock);
}

const char *simulator_misuse(void) {
    LOCKED;
    return world.misuse;
}

const char *simulator_last_order(int *value) {
    LOCKED;
    *value = world.order_value;
    return world.order;
}

/* Frames that the program has. */
size_t simulator_lent(void) {
    LOCKED;
    size_t lent = 0;
    for (size_t i = 0; driver && i < driver->count; i++) lent += driver->frames[i].lent;
    return lent;
}

/* Frames that are nowhere: not free, not queued, not with the program. */
size_t simulator_lost(void) {
    LOCKED;
    size_t lost = 0;
    for (size_t i = 0; driver && i < driver->count; i++) {
        lost += !driver->frames[i].free && !driver->frames[i].lent;
    }
    return driver ? lost - driver->queued : 0;
}

void simulator_counts(size_t counts[5]) {
    LOCKED;
    counts[0] = world.inits;
    counts[1] = world.deinits;
    counts[2] = world.gets;
    counts[3] = world.returns;
    counts[4] = world.orders;
}

/* The fields of the last configuration, in order. */
void simulator_config(long fields[26]) {
    LOCKED;
    const camera_config_t *c = &world.config;
    const long all[26] = {
        c->pin_pwdn, c->pin_reset, c->pin_xclk, c->pin_sccb_sda, c->pin_sccb_scl,
        c->pin_d7, c->pin_d6, c->pin_d5, c->pin_d4, c->pin_d3, c->pin_d2, c->pin_d1, c->pin_d0,
        c->pin_vsync, c->pin_href, c->pin_pclk, c->xclk_freq_hz, c->ledc_timer, c->ledc_channel,
        c->pixel_format, c->frame_size, c->jpeg_quality, (long)c->fb_count, c->fb_location,
        c->grab_mode, c->sccb_i2c_port,
    };
    memcpy(fields, all, sizeof all);
}

/* An init that needs no Rust, for the tests of this file. */
esp_err_t simulator_init(size_t fb_count, camera_grab_mode_t grab_mode) {
    const camera_config_t config = {
        .pixel_format = PIXFORMAT_JPEG, .frame_size = 10, .fb_count = fb_count,
        .grab_mode = grab_mode,
    };
    return esp_camera_init(&config);
}

/* What this compiler makes of the interface. */
size_t simulator_layout(size_t figures[16]) {
    const size_t all[] = {
        sizeof(camera_config_t), offsetof(camera_config_t, fb_count),
        offsetof(camera_config_t, sccb_i2c_port), sizeof(camera_fb_t),
        offsetof(camera_fb_t, timestamp), sizeof(timeval_t), sizeof(sensor_id_t),
        sizeof(camera_status_t), offsetof(camera_status_t, aec_value),
        offsetof(camera_status_t, colorbar), sizeof(sensor_t), offsetof(sensor_t, status),
        offsetof(sensor_t, set_framesize), offsetof(sensor_t, set_lenc),
        sizeof(camera_sensor_info_t), offsetof(camera_sensor_info_t, max_size),
    };
    memcpy(figures, all, sizeof all);
    return sizeof all / sizeof *all;
}
