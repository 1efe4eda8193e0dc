"""Chromium and Firefox at the firmware in an emulator."""

import test_chromium
import test_firefox
from board import Imc


class ChromiumShowsImc(test_chromium.ChromiumShows):
    subject = Imc


class FirefoxShowsImc(test_firefox.FirefoxShows):
    subject = Imc
