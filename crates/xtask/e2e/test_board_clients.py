"""The programs that people have, at the firmware in an emulator: what they do with camwire-host."""

import test_ffmpeg
import test_http
import test_vlc
from board import Imac, Imc
from camwire import Case


class RoutesOnImc(test_http.Routes):
    subject = Imc


class RoutesOnImac(test_http.Routes):
    subject = Imac


class ErrorsOnImc(test_http.Errors):
    subject = Imc


class FfmpegOnImc(test_ffmpeg.Ffmpeg):
    subject = Imc


class FfmpegOnImac(test_ffmpeg.Ffmpeg):
    subject = Imac


class VlcOnImc(test_vlc.Vlc):
    subject = Imc


class RouteOfTheFirmware(Case):
    subject = Imc

    def test_answers_beside_those_of_the_server(self):
        board = self.serve()
        answer = test_http.curl(board.url("/robot"))
        self.assertEqual(answer.status, 200)
        self.assertEqual(answer.headers["content-type"], "application/json")
        self.assertEqual(set(answer.json()), {"steps", "skipped", "worst_late_us"})
        self.assertEqual(test_http.curl(board.url("/robot"), "--data", "x").status, 405)
        self.assertEqual(test_http.curl(board.url("/robots")).status, 404)
