"""Requests that mean harm, to the firmware in an emulator."""

import test_hostile
from board import Imc


class HostileToImc(test_hostile.Hostile):
    subject = Imc
    gentler = 10

    def capture(self):
        return self.server.get_at_last("/capture")
